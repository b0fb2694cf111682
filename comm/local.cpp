#include "comm/local.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "comm/local_world.h"
#include "csrc/base/backoff.h"
#include "csrc/base/errors.h"

namespace kente {
namespace {

class LocalWork : public Work {
 public:
  LocalWork(std::shared_ptr<LocalWorld> world, std::shared_ptr<LocalPost> post, int rank,
            std::string what)
      : world_(std::move(world)), post_(std::move(post)), rank_(rank), what_(std::move(what)) {}
  LocalWork(const LocalWork&) = delete;
  LocalWork& operator=(const LocalWork&) = delete;
  ~LocalWork() override {
    const std::lock_guard lock(world_->job().mutex);
    if (!post_->done) world_->withdraw(post_, rank_);
  }

  bool done() override {
    const std::lock_guard lock(world_->job().mutex);
    return settled();
  }

  void wait(const Deadline& deadline) override {
    LocalJob& job = world_->job();
    std::unique_lock lock(job.mutex);
    while (!settled()) {
      if (deadline.passed()) throw PeerError(text() + ": " + no_answer_within(deadline));
      const double seconds = std::min(deadline.seconds_left(), 3600.0);
      job.changed.wait_for(lock, std::chrono::duration<double>(seconds));
    }
  }

 private:
  std::string text() const { return "rank " + std::to_string(rank_) + ": " + what_; }

  /// True when complete; throws when it never will be. The caller holds the job's mutex.
  bool settled() const {
    if (post_->done) return true;
    if (!post_->mistake.empty()) throw InternalError(text() + ": " + post_->mistake);
    if (!post_->lost.empty()) throw PeerError(text() + ": " + post_->lost);
    if (!world_->job().ended.empty()) throw PeerError(text() + ": " + world_->job().ended);
    return false;
  }

  const std::shared_ptr<LocalWorld> world_;
  const std::shared_ptr<LocalPost> post_;
  const int rank_;
  const std::string what_;
};

class LocalCommunicator : public Communicator {
 public:
  LocalCommunicator(std::shared_ptr<LocalWorld> world, int rank)
      : world_(std::move(world)), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override { return world_->size(); }

  std::unique_ptr<Work> isend(BufferView data, int to, int tag) override {
    check_peer(to, "isend");
    const std::lock_guard lock(world_->job().mutex);
    return work(world_->send(data, rank_, to, tag),
                "isend to rank " + std::to_string(to) + ", tag " + std::to_string(tag));
  }

  std::unique_ptr<Work> irecv(BufferView data, int from, int tag) override {
    check_peer(from, "irecv");
    const std::lock_guard lock(world_->job().mutex);
    return work(world_->receive(data, from, rank_, tag),
                "irecv from rank " + std::to_string(from) + ", tag " + std::to_string(tag));
  }

  std::unique_ptr<Work> all_reduce(BufferView data, ReduceOp op) override {
    refuse_half(data, "all_reduce");
    return join({.kind = LocalRound::Kind::kAllReduce,
                 .op = op,
                 .root = 0,
                 .count = data.count,
                 .dtype = data.dtype},
                data, data);
  }

  std::unique_ptr<Work> reduce_scatter(BufferView input, BufferView output) override {
    refuse_half(input, "reduce_scatter");
    check_parts(input, output, "reduce_scatter");
    return join({.kind = LocalRound::Kind::kReduceScatter,
                 .op = ReduceOp::kSum,
                 .root = 0,
                 .count = output.count,
                 .dtype = output.dtype},
                input, output);
  }

  std::unique_ptr<Work> all_gather(BufferView input, BufferView output) override {
    check_parts(output, input, "all_gather");
    return join({.kind = LocalRound::Kind::kAllGather,
                 .op = ReduceOp::kSum,
                 .root = 0,
                 .count = input.count,
                 .dtype = input.dtype},
                input, output);
  }

  std::unique_ptr<Work> broadcast(BufferView data, int root) override {
    check_peer(root, "broadcast");
    return join({.kind = LocalRound::Kind::kBroadcast,
                 .op = ReduceOp::kSum,
                 .root = root,
                 .count = data.count,
                 .dtype = data.dtype},
                data, data);
  }

  void barrier(const Deadline& deadline) override { join({}, {}, {})->wait(deadline); }

  std::unique_ptr<Communicator> split(int color, int key) override {
    LocalRound::Signature signature;
    signature.kind = LocalRound::Kind::kSplit;
    LocalRound::Member member;
    member.post = std::make_shared<LocalPost>();
    member.color = color;
    member.key = key;
    const auto post = member.post;
    std::unique_ptr<Work> arrival;
    std::shared_ptr<LocalRound> round;
    {
      const std::lock_guard lock(world_->job().mutex);
      round = world_->join(rank_, signature, std::move(member));
      arrival = work(post, "split");
    }
    arrival->wait(Deadline::never());
    const LocalRound::Member& result = round->members[static_cast<size_t>(rank_)];
    if (!result.world) return nullptr;
    return std::make_unique<LocalCommunicator>(result.world, result.rank);
  }

  void progress() override {
    const std::lock_guard lock(world_->job().mutex);
    if (!world_->job().ended.empty())
      throw PeerError("rank " + std::to_string(rank_) + ": " + world_->job().ended);
  }

  void abort(int status) override {
    const std::lock_guard lock(world_->job().mutex);
    world_->job().ended =
        "rank " + std::to_string(rank_) + " aborted the job with status " + std::to_string(status);
    world_->job().changed.notify_all();
  }

 private:
  std::unique_ptr<Work> work(std::shared_ptr<LocalPost> post, std::string what) {
    return std::make_unique<LocalWork>(world_, std::move(post), rank_, std::move(what));
  }

  std::unique_ptr<Work> join(const LocalRound::Signature& signature, BufferView input,
                             BufferView output) {
    LocalRound::Member member;
    member.post = std::make_shared<LocalPost>();
    member.input = input;
    member.output = output;
    const auto post = member.post;
    const std::lock_guard lock(world_->job().mutex);
    world_->join(rank_, signature, std::move(member));
    return work(post, to_string(signature));
  }

  void check_peer(int peer, const char* what) const {
    KENTE_CHECK(peer >= 0 && peer < size(), std::string(what) + ": rank " + std::to_string(peer) +
                                                " of " + std::to_string(size()));
  }
  void check_parts(BufferView whole, BufferView one, const char* what) const {
    KENTE_CHECK(whole.count == one.count * size() && whole.dtype == one.dtype,
                std::string(what) + ": " + std::to_string(whole.count) + " elements, want " +
                    std::to_string(size()) + " x " + std::to_string(one.count));
  }
  static void refuse_half(BufferView data, const char* what) {
    if (data.dtype == DType::kF16 || data.dtype == DType::kBF16)
      throw InternalError(std::string(what) + " of " + std::string(name_of(data.dtype)) +
                          ": convert to f32 first");
  }

  const std::shared_ptr<LocalWorld> world_;
  const int rank_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_local(int ranks) {
  KENTE_CHECK(ranks >= 1, std::to_string(ranks) + " ranks");
  const auto world = std::make_shared<LocalWorld>(std::make_shared<LocalJob>(), ranks);
  std::vector<std::unique_ptr<Communicator>> communicators;
  communicators.reserve(static_cast<size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank)
    communicators.push_back(std::make_unique<LocalCommunicator>(world, rank));
  return communicators;
}

std::unique_ptr<Communicator> make_single() { return std::move(make_local(1).front()); }

}  // namespace kente
