#include "csrc/train/saver.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <utility>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/ckpt/manifest.h"
#include "csrc/train/gather.h"

namespace kente {
namespace {

std::string shard_name(int rank) {
  std::array<char, 32> name{};
  std::snprintf(name.data(), name.size(), "rank-%04d.safetensors", rank);
  return name.data();
}

/// Calls something once: now, or when the scope ends, however it ends.
class AtEnd {
 public:
  explicit AtEnd(std::function<void()> call) : call_(std::move(call)) {}
  ~AtEnd() { now(); }
  AtEnd(const AtEnd&) = delete;
  AtEnd& operator=(const AtEnd&) = delete;
  void now() {
    if (const auto call = std::exchange(call_, nullptr)) call();
  }

 private:
  std::function<void()> call_;
};

}  // namespace

Saver::Saver(const std::vector<StoragePlace>& places, Communicator& world, FileSystem& files,
             Log& log, double timeout_seconds)
    : places_(places), world_(world), files_(files), log_(log), timeout_seconds_(timeout_seconds) {
  together(
      world_, [&] { remove_attempts(); }, deadline());
}

void Saver::start(Phase phase, std::function<void()> work) {
  phase_ = phase;
  work_.start(std::move(work));
}

void Saver::prepare(const std::vector<NamedTensor>& tensors) {
  start(Phase::kIdle, [this, tensors] { allocate(tensors); });
}

void Saver::allocate(const std::vector<NamedTensor>& tensors) {
  if (std::exchange(allocated_, true)) return;
  try {
    copy_ = std::make_unique<StateCopy>(tensors, places_.front().sharing(world_.rank()));
  } catch (const StorageError& failure) {
    log_.warn(failure.what());
  }
}

void Saver::begin(CheckpointManifest manifest, const std::vector<NamedTensor>& tensors,
                  Source source, const Retention& retention, std::function<void()> released) {
  KENTE_CHECK(!active(), "a checkpoint while the last one is not stored");
  const int64_t begin_ns = now_ns();
  work_.wait();  // for prepare()
  attempt_ = Attempt();
  attempt_.id = fmt::format("{}-{}-{}", manifest.run_id, manifest.step, ++attempts_);
  attempt_.manifest = std::move(manifest);
  attempt_.retention = retention;
  attempt_.begin_ns = begin_ns;
  if (source == Source::kCopied) {
    allocate(tensors);
    if (copy_) copy_->fill(tensors);
  }
  start(Phase::kWriting, [this, tensors, source, released = std::move(released)] {
    AtEnd release{source == Source::kReleased ? released : nullptr};
    if (source == Source::kReleased) allocate(tensors);
    const bool from_copy = copy_ && source != Source::kBorrowed;
    if (source == Source::kReleased && from_copy) {
      copy_->fill(tensors);
      release.now();
    }
    write(from_copy ? copy_->tensors() : tensors);
  });
  if (source == Source::kCopied && !copy_) work_.wait();
  stood_still_ = seconds_since(begin_ns);
}

void Saver::write(const std::vector<NamedTensor>& tensors) {
  if (tensors.empty()) return;
  const StoragePlace& own = places_.front();
  attempt_.shard =
      write_shard(files_, own.directory, attempt_.id, shard_name(world_.rank()), tensors);
  attempt_.shard.domain = own.domain(world_.rank());
}

void Saver::gather_shards() {
  const Shard& mine = attempt_.shard;
  const std::string text = mine.file.empty() ? std::string() : to_json(mine);
  const std::vector<std::string> all = all_gather_text(world_, text, deadline());
  for (size_t rank = 0; rank < all.size(); ++rank)
    if (!all[rank].empty())
      attempt_.manifest.add(parse_shard(all[rank], "rank " + std::to_string(rank)));
}

void Saver::commit_own() {
  const StoragePlace& own = places_.front();
  if (!own.leads(world_.rank())) return;
  write_manifest(files_, own.directory, attempt_.id, attempt_.manifest);
  commit(files_, own.directory, attempt_.id, attempt_.manifest.step);
}

std::string Saver::own_step() const {
  return places_.front().directory + "/" + step_directory(attempt_.manifest.step);
}

void Saver::read_own_back() {
  const Shard& mine = attempt_.shard;
  if (!mine.file.empty()) read_back(files_, own_step() + "/" + mine.file, mine);
}

/// A step that was committed and is not what was written.
void Saver::withdraw() {
  if (!places_.front().leads(world_.rank())) return;
  try {
    remove_step(files_, places_.front().directory, attempt_.manifest.step);
  } catch (const StorageError& failure) {
    log_.warn(std::string("a damaged checkpoint stays: ") + failure.what());
  }
}

/// A place that fails does not keep the others from getting theirs.
void Saver::for_copies(const std::function<void(const StoragePlace&)>& work) {
  for (size_t i = 1; i < places_.size(); ++i) {
    if (!attempt_.problems[i].empty()) continue;
    try {
      work(places_[i]);
    } catch (const Error& failure) {
      if (exit_status(failure) == ExitStatus::kBug) throw;
      attempt_.problems[i] = failure.what();
    }
  }
}

void Saver::copy_shards() {
  const StoragePlace& own = places_.front();
  attempt_.problems.resize(places_.size());
  try {
    if (own.leads(world_.rank()))
      retain(files_, own.directory, attempt_.retention.newest, attempt_.retention.also);
  } catch (const StorageError& failure) {
    attempt_.problems.front() = failure.what();
  }
  for_copies([&](const StoragePlace& place) {
    const Shard& mine = attempt_.shard;
    if (mine.file.empty()) return;
    copy_shard(files_, own_step() + "/" + mine.file, mine, place.directory, attempt_.id);
  });
}

void Saver::commit_copies() {
  for_copies([&](const StoragePlace& place) {
    if (!place.leads(world_.rank())) return;
    write_manifest(files_, place.directory, attempt_.id, attempt_.manifest);
    commit(files_, place.directory, attempt_.id, attempt_.manifest.step);
    retain(files_, place.directory, attempt_.retention.newest, attempt_.retention.also);
  });
}

void Saver::remove_attempts() {
  for (const StoragePlace& place : places_) {
    if (!place.leads(world_.rank())) continue;
    try {
      remove_leftovers(files_, place.directory);
    } catch (const StorageError& failure) {
      log_.warn(std::string("what a failed checkpoint left stays: ") + failure.what());
    }
  }
}

Saver::News Saver::failed(const std::string& why) {
  const int64_t step = attempt_.manifest.step;
  log_.error(fmt::format("checkpoint of step {} failed: {}", step, why));
  start(Phase::kCleaning, [this, committed = phase_ == Phase::kReadingBack] {
    if (committed) withdraw();
    remove_attempts();
  });
  return {.event = "checkpoint failed",
          .step = step,
          .detail = why + "; training goes on, older checkpoints stay"};
}

std::vector<Saver::News> Saver::tell_problems() {
  std::vector<News> news;
  for (size_t i = 0; i < places_.size(); ++i) {
    if (attempt_.told.contains(i)) continue;
    std::string why;
    for (const std::string& text : all_gather_text(world_, attempt_.problems[i], deadline()))
      if (why.empty()) why = text;
    if (why.empty()) continue;
    attempt_.problems[i] = why;
    attempt_.told.insert(i);
    const std::string kind = i == 0 ? "old checkpoints stay" : "copy failed";
    log_.error(fmt::format("step {}: {}: {}", attempt_.manifest.step, kind, why));
    news.push_back({.event = kind, .step = attempt_.manifest.step, .detail = why});
  }
  return news;
}

/// What the threads' work ended with, for all ranks: empty, or why storage failed.
std::string Saver::outcome_of_work() {
  try {
    together(
        world_, [&] { work_.rethrow(); }, deadline());
  } catch (const StorageError& failure) {
    return failure.what();
  } catch (const PeerStopped& peer) {
    if (peer.status() != ExitStatus::kStorage) throw;
    return peer.what();
  }
  return "";
}

std::vector<Saver::News> Saver::advance() {
  KENTE_CHECK(active() && !working(), "nothing to go on with");
  const std::string why = outcome_of_work();
  if (!why.empty()) return {failed(why)};
  std::vector<News> news;
  switch (phase_) {
    case Phase::kWriting:
      gather_shards();
      start(Phase::kCommitting, [this] { commit_own(); });
      break;
    case Phase::kCommitting:
      attempt_.durable_seconds = seconds_since(attempt_.begin_ns);
      start(Phase::kReadingBack, [this] { read_own_back(); });
      break;
    case Phase::kReadingBack:
      news.push_back(stored());
      start(Phase::kCopying, [this] { copy_shards(); });
      break;
    case Phase::kCopying:
      news = tell_problems();
      if (places_.size() > 1) {
        start(Phase::kCommittingCopies, [this] { commit_copies(); });
        break;
      }
      phase_ = Phase::kIdle;
      break;
    case Phase::kCommittingCopies:
      news = tell_problems();
      if (attempt_.told.empty()) {
        phase_ = Phase::kIdle;
      } else {
        start(Phase::kCleaning, [this] { remove_attempts(); });
      }
      break;
    default:
      phase_ = Phase::kIdle;
  }
  return news;
}

Saver::News Saver::stored() const {
  return {.event = kStored,
          .step = attempt_.manifest.step,
          .detail =
              fmt::format("durable after {:.2f} s, read back after {:.2f} s, training stood "
                          "still for {:.2f} s",
                          attempt_.durable_seconds, seconds_since(attempt_.begin_ns), stood_still_),
          .durable_seconds = attempt_.durable_seconds};
}

std::vector<Saver::News> Saver::finish() {
  std::vector<News> all;
  const int64_t begin_ns = now_ns();
  while (active()) {
    work_.wait();
    if (phase_ == Phase::kReadingBack) stood_still_ += seconds_since(begin_ns);
    for (News& news : advance()) all.push_back(std::move(news));
  }
  return all;
}

}  // namespace kente
