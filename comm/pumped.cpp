#include "comm/pumped.h"

#include "csrc/base/backoff.h"

namespace kente {
namespace {

/// An operation of the host's.
class HostWork : public Work {
 public:
  HostWork(Pump& pump, std::unique_ptr<Work> inner) : pump_(pump), inner_(std::move(inner)) {}

  bool done() override {
    pump_.go_on();
    return inner_->done();
  }
  void wait(const Deadline& deadline) override {
    for (Backoff backoff; !done(); backoff.pause())
      if (deadline.passed()) inner_->wait(deadline);  // says who did not answer
  }

 private:
  Pump& pump_;
  const std::unique_ptr<Work> inner_;
};

class HostCommunicator : public OverInner {
 public:
  using OverInner::OverInner;

  std::unique_ptr<Work> isend(BufferView data, int to, int tag) override {
    return pumped(inner_.isend(data, to, tag));
  }
  std::unique_ptr<Work> irecv(BufferView data, int from, int tag) override {
    return pumped(inner_.irecv(data, from, tag));
  }
  std::unique_ptr<Work> all_reduce(BufferView data, ReduceOp op) override {
    return pumped(inner_.all_reduce(data, op));
  }
  std::unique_ptr<Work> reduce_scatter(BufferView input, BufferView output) override {
    return pumped(inner_.reduce_scatter(input, output));
  }
  std::unique_ptr<Work> all_gather(BufferView input, BufferView output) override {
    return pumped(inner_.all_gather(input, output));
  }
  std::unique_ptr<Work> broadcast(BufferView data, int root) override {
    return pumped(inner_.broadcast(data, root));
  }
  /// A sum of one number, in whose wait the other's operations go on.
  void barrier(const Deadline& deadline) override {
    int64_t here = 1;
    all_reduce({.data = &here, .count = 1, .dtype = DType::kI64}, ReduceOp::kSum)->wait(deadline);
  }
  std::unique_ptr<Communicator> split(int color, int key) override {
    auto part = inner_.split(color, key);
    if (!part) return nullptr;
    return std::make_unique<HostCommunicator>(pump_, std::move(part));
  }

 private:
  std::unique_ptr<Work> pumped(std::unique_ptr<Work> inner) {
    return std::make_unique<HostWork>(*pump_, std::move(inner));
  }
};

}  // namespace

std::unique_ptr<Communicator> make_pumped(std::shared_ptr<Pump> pump, Communicator& inner) {
  return std::make_unique<HostCommunicator>(std::move(pump), inner);
}

}  // namespace kente
