#include "comm/faulty.h"

#include <string>
#include <utility>

#include "csrc/base/backoff.h"
#include "csrc/base/errors.h"

namespace kente {
namespace {

class SentToNobody : public Work {
 public:
  bool done() override { return true; }
  void wait(const Deadline&) override {}
};

class NeverDone : public Work {
 public:
  explicit NeverDone(std::string what) : what_(std::move(what)) {}
  bool done() override { return false; }
  void wait(const Deadline& deadline) override {
    Backoff backoff;
    while (!deadline.passed()) backoff.pause();
    throw PeerError(what_ + ": " + no_answer_within(deadline));
  }

 private:
  const std::string what_;
};

class FaultyCommunicator : public Communicator {
 public:
  FaultyCommunicator(std::unique_ptr<Communicator> inner, const Fault& fault)
      : inner_(std::move(inner)), fault_(fault) {}

  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }

  std::unique_ptr<Work> isend(BufferView data, int to, int tag) override {
    if (is_dropped("isend")) return std::make_unique<SentToNobody>();
    return inner_->isend(data, to, tag);
  }
  std::unique_ptr<Work> irecv(BufferView data, int from, int tag) override {
    if (is_dropped("irecv")) return never("irecv");
    return inner_->irecv(data, from, tag);
  }
  std::unique_ptr<Work> all_reduce(BufferView data, ReduceOp op) override {
    if (is_dropped("all_reduce")) return never("all_reduce");
    return inner_->all_reduce(data, op);
  }
  std::unique_ptr<Work> reduce_scatter(BufferView input, BufferView output) override {
    if (is_dropped("reduce_scatter")) return never("reduce_scatter");
    return inner_->reduce_scatter(input, output);
  }
  std::unique_ptr<Work> all_gather(BufferView input, BufferView output) override {
    if (is_dropped("all_gather")) return never("all_gather");
    return inner_->all_gather(input, output);
  }
  std::unique_ptr<Work> broadcast(BufferView data, int root) override {
    if (is_dropped("broadcast")) return never("broadcast");
    return inner_->broadcast(data, root);
  }
  void barrier(const Deadline& deadline) override {
    if (is_dropped("barrier")) return never("barrier")->wait(deadline);
    inner_->barrier(deadline);
  }
  std::unique_ptr<Communicator> split(int color, int key) override {
    return inner_->split(color, key);
  }
  void progress() override { inner_->progress(); }
  void abort(int status) override { inner_->abort(status); }

 private:
  std::string text(const char* name) const {
    return "rank " + std::to_string(rank()) + ": " + name + " (operation " +
           std::to_string(fault_.operation) + ", a fault made on purpose)";
  }
  std::unique_ptr<Work> never(const char* name) const {
    return std::make_unique<NeverDone>(text(name));
  }

  /// Counts the operation and carries out the fault if it is its turn; true: the operation shall be
  /// dropped.
  bool is_dropped(const char* name) {
    if (next_++ != fault_.operation) return false;
    if (fault_.kind == Fault::Kind::kFail) throw PeerError(text(name) + ": failed");
    if (fault_.kind == Fault::Kind::kDrop) return true;
    const Deadline stall = Deadline::after_seconds(fault_.seconds);
    Backoff backoff;
    while (!stall.passed()) backoff.pause();
    return false;
  }

  const std::unique_ptr<Communicator> inner_;
  const Fault fault_;
  int64_t next_ = 0;
};

}  // namespace

std::unique_ptr<Communicator> make_faulty(std::unique_ptr<Communicator> inner, const Fault& fault) {
  return std::make_unique<FaultyCommunicator>(std::move(inner), fault);
}

}  // namespace kente
