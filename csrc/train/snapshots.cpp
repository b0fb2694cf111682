#include "csrc/train/snapshots.h"

#include <fmt/format.h>
#include <algorithm>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"

namespace kente {

Snapshots::Snapshots(const Options& options, FileSystem& files, Log& log)
    : options_(options), files_(files), log_(log), every_(options.every) {
  if (on()) thread_ = std::thread([this] { run(); });
}

Snapshots::~Snapshots() {
  jobs_.close();
  if (thread_.joinable()) thread_.join();
}

std::string Snapshots::slot_name(size_t slot) const {
  return fmt::format("{}-rank-{:04d}-{}", options_.start, options_.rank, slot);
}

void Snapshots::take(CheckpointManifest manifest, const std::vector<NamedTensor>& tensors,
                     double step_seconds) {
  KENTE_CHECK(on() && !busy(), "a snapshot while the last one is not sealed, or held");
  std::unique_ptr<SnapshotSlot>& slot = slots_.at(next_);
  const bool fresh = !slot;
  try {
    if (fresh) slot = std::make_unique<SnapshotSlot>(options_.directory, slot_name(next_), tensors);
    const int64_t begin = now_ns();
    slot->copy(tensors);
    const double seconds = static_cast<double>(now_ns() - begin) * 1e-9;
    constexpr double kMostOfAStep = 0.02;
    cost_too_much_ = !fresh && seconds > kMostOfAStep * static_cast<double>(every_) * step_seconds;
  } catch (const StorageError& failure) {
    log_.error(std::string("no more snapshots: ") + failure.what());
    failed_.store(true, std::memory_order_relaxed);
    return;
  }
  ++taken_;
  newest_ = manifest.step;
  next_ = 1 - next_;
  manifest.state[kSnapshotStart] = options_.start;
  sealing_.store(true, std::memory_order_release);
  jobs_.push({.slot = slot.get(), .manifest = std::move(manifest)});
}

void Snapshots::run() {
  while (std::optional<Job> job = jobs_.pop()) {
    try {
      job->slot->seal(files_, std::move(job->manifest));
    } catch (const StorageError& failure) {
      log_.error(std::string("no more snapshots: ") + failure.what());
      failed_.store(true, std::memory_order_relaxed);
    }
    sealing_.store(false, std::memory_order_release);
    sealing_.notify_all();
  }
}

const CheckpointManifest* Snapshots::sealed(int64_t step) const {
  if (newest_ != step) return nullptr;
  const CheckpointManifest& newest = slots_.at(1 - next_)->sealed();
  return newest.shards.empty() ? nullptr : &newest;
}

std::vector<NamedTensor> Snapshots::hold() {
  KENTE_CHECK(newest_ > 0, "nothing to hold");
  held_.fetch_add(1, std::memory_order_acq_rel);
  return slots_.at(1 - next_)->tensors();
}

void Snapshots::release() {
  held_.fetch_sub(1, std::memory_order_acq_rel);
  held_.notify_all();
}

void Snapshots::forget_after(int64_t step) {
  wait();
  for (const auto& slot : slots_)
    if (slot && slot->sealed().step > step) slot->hide();
}

void Snapshots::clear() {
  wait();
  for (int held = held_; held > 0; held = held_) held_.wait(held, std::memory_order_acquire);
  newest_ = 0;
  for (std::unique_ptr<SnapshotSlot>& slot : slots_)
    if (slot) remove_slot(files_, slot, log_);
  every_ = 0;
}

}  // namespace kente
