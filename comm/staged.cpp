#include "comm/staged.h"

#include <algorithm>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "csrc/base/backoff.h"
#include "csrc/base/errors.h"
#include "csrc/base/round_up.h"
#include "csrc/device/staging.h"

namespace kente {
namespace {

/// What the communicators of one rank share.
struct Shared {
  Shared(Device& device, Stream& compute)
      : compute(compute),
        staging(device),
        copies(device.make_stream(Urgency::kUrgent)),
        computed(device.make_event()) {}

  Stream& compute;
  Staging staging;
  const std::unique_ptr<Stream> copies;   // out of the device
  const std::unique_ptr<Event> computed;  // recorded anew for every operation
  Pump pump;
};

/// Whoever gives up an operation ends the process; until then peers and the device may use its
/// memory.
void keep_for_ever(Staging::Place place) {
  static std::mutex mutex;
  static auto* const kept = new std::vector<Staging::Place>;
  const std::lock_guard lock(mutex);
  kept->push_back(std::move(place));
}

/// One operation: its input's way to pinned memory, the inner operation there, its output's way
/// back. Input and output may be the same bytes.
struct Transfer {
  BufferView input = {}, output = {};  // the device's; data null: none
  bool in_place = false;
  /// Starts the inner operation on their copies.
  std::function<std::unique_ptr<Work>(BufferView input, BufferView output)> start;
};

class StagedWork;

/// Collectives of one communicator start in the order of the calls, whenever their inputs arrive.
using Order = std::deque<StagedWork*>;

class StagedWork : public Work {
 public:
  /// order: of a collective; null for messages.
  StagedWork(Shared& shared, Order* order, std::string what, Transfer transfer)
      : shared_(shared), order_(order), what_(std::move(what)), transfer_(std::move(transfer)) {
    const int64_t input = transfer_.input.bytes(), output = transfer_.output.bytes();
    place_.emplace(shared_.staging.take(transfer_.in_place ? std::max(input, output)
                                                           : aligned(input) + output));
    if (transfer_.input.data != nullptr) {
      shared_.compute.record(*shared_.computed);
      shared_.copies->wait_for(*shared_.computed);
      shared_.copies->copy(place_->data(), transfer_.input.data, input);
      shared_.copies->record(place_->event());
    }
    shared_.pump.under_way.push_back(this);
    if (order_) order_->push_back(this);
  }
  StagedWork(const StagedWork&) = delete;
  StagedWork& operator=(const StagedWork&) = delete;
  ~StagedWork() override {
    std::erase(shared_.pump.under_way, this);
    if (order_) std::erase(*order_, this);
    if (finished_) return;
    inner_.reset();
    keep_for_ever(*std::move(place_));
  }

  bool done() override {
    if (order_) {
      while (!order_->empty() && order_->front()->begin()) order_->pop_front();
    } else {
      begin();
    }
    if (inner_ && !finished_ && inner_->done()) finish();
    return finished_;
  }

  // A peer may wait for another operation of ours before it answers this one.
  void wait(const Deadline& deadline) override {
    for (Backoff backoff; !done(); backoff.pause()) {
      shared_.pump.go_on();
      if (!deadline.passed()) continue;
      if (!inner_)
        throw PeerError(what_ +
                        ": its buffer did not leave the device: " + no_answer_within(deadline));
      inner_->wait(deadline);  // says who did not answer
    }
  }

 private:
  static constexpr int64_t kAlignment = 256;
  static int64_t aligned(int64_t bytes) { return round_up(bytes, kAlignment); }
  BufferView host(BufferView like, int64_t offset) const {
    return {.data = place_->data() + offset, .count = like.count, .dtype = like.dtype};
  }
  BufferView host_output() const {
    return host(transfer_.output, transfer_.in_place ? 0 : aligned(transfer_.input.bytes()));
  }

  /// True once the inner operation has been started.
  bool begin() {
    if (inner_ || finished_) return true;
    if (transfer_.input.data != nullptr && !place_->event().passed()) return false;
    inner_ = transfer_.start(host(transfer_.input, 0), host_output());
    return true;
  }

  void finish() {
    finished_ = true;
    inner_.reset();
    if (transfer_.output.data != nullptr)
      shared_.compute.copy(transfer_.output.data, host_output().data, transfer_.output.bytes());
    shared_.staging.give_back(*std::move(place_), shared_.compute);
    place_.reset();
  }

  Shared& shared_;
  Order* const order_;
  const std::string what_;
  const Transfer transfer_;
  std::optional<Staging::Place> place_;
  std::unique_ptr<Work> inner_;
  bool finished_ = false;
};

class StagedCommunicator : public OverInner {
 public:
  StagedCommunicator(std::shared_ptr<Shared> shared, Communicator& inner)
      : OverInner(pump_of(shared), inner), shared_(std::move(shared)) {}
  StagedCommunicator(std::shared_ptr<Shared> shared, std::unique_ptr<Communicator> inner)
      : OverInner(pump_of(shared), std::move(inner)), shared_(std::move(shared)) {}

  std::unique_ptr<Work> isend(BufferView data, int to, int tag) override {
    return begin(nullptr, "isend", {.input = data, .start = [=, this](BufferView host, BufferView) {
                                      return inner_.isend(host, to, tag);
                                    }});
  }
  std::unique_ptr<Work> irecv(BufferView data, int from, int tag) override {
    return begin(nullptr, "irecv",
                 {.output = data, .start = [=, this](BufferView, BufferView host) {
                    return inner_.irecv(host, from, tag);
                  }});
  }
  std::unique_ptr<Work> all_reduce(BufferView data, ReduceOp op) override {
    return begin(
        &order_, "all_reduce",
        {.input = data,
         .output = data,
         .in_place = true,
         .start = [=, this](BufferView host, BufferView) { return inner_.all_reduce(host, op); }});
  }
  std::unique_ptr<Work> reduce_scatter(BufferView input, BufferView output) override {
    return begin(
        &order_, "reduce_scatter",
        {.input = input, .output = output, .start = [this](BufferView from, BufferView to) {
           return inner_.reduce_scatter(from, to);
         }});
  }
  std::unique_ptr<Work> all_gather(BufferView input, BufferView output) override {
    return begin(
        &order_, "all_gather",
        {.input = input, .output = output, .start = [this](BufferView from, BufferView to) {
           return inner_.all_gather(from, to);
         }});
  }
  std::unique_ptr<Work> broadcast(BufferView data, int root) override {
    const bool sends = root == rank();
    return begin(&order_, "broadcast",
                 {.input = sends ? data : BufferView{},
                  .output = sends ? BufferView{} : data,
                  .in_place = true,
                  .start = [=, this](BufferView from, BufferView to) {
                    return inner_.broadcast(sends ? from : to, root);
                  }});
  }
  void barrier(const Deadline& deadline) override { inner_.barrier(deadline); }
  std::unique_ptr<Communicator> split(int color, int key) override {
    auto part = inner_.split(color, key);
    if (!part) return nullptr;
    return std::make_unique<StagedCommunicator>(shared_, std::move(part));
  }

 private:
  std::unique_ptr<Work> begin(Order* order, const char* name, Transfer transfer) {
    auto work = std::make_unique<StagedWork>(*shared_, order,
                                             "rank " + std::to_string(rank()) + ": staged " + name,
                                             std::move(transfer));
    work->done();
    return work;
  }

  const std::shared_ptr<Shared> shared_;
  Order order_;
};

}  // namespace

DeviceCommunicators make_staged(Communicator& inner, Device& device, Stream& compute) {
  const auto shared = std::make_shared<Shared>(device, compute);
  return {.tensors = std::make_unique<StagedCommunicator>(shared, inner),
          .host = make_pumped(pump_of(shared), inner)};
}

}  // namespace kente
