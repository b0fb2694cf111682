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

std::unique_ptr<SnapshotSlot> Snapshots::make_slot(size_t number,
                                                   const std::vector<NamedTensor>& tensors) const {
  return std::make_unique<SnapshotSlot>(
      options_.directory, fmt::format("{}-rank-{:04d}-{}", options_.start, options_.rank, number),
      tensors);
}

void Snapshots::add(std::unique_ptr<SnapshotSlot> slot) {
  slots_.push_back({.memory = std::move(slot)});
}

size_t Snapshots::next_slot() const {
  size_t oldest = slots_.size();
  for (size_t slot = 0; slot < slots_.size(); ++slot)
    if (!slots_[slot].pinned && slot != newest_slot_ &&
        (oldest == slots_.size() || slots_[slot].step < slots_[oldest].step))
      oldest = slot;
  return oldest;
}

SnapshotSlot* Snapshots::begin(CheckpointManifest& manifest,
                               const std::vector<NamedTensor>& tensors,
                               const std::function<void(Slot&)>& fill) {
  KENTE_CHECK(on() && !busy(), "a snapshot while the last one is not sealed, or held");
  const size_t number = next_slot();
  Slot& slot = slots_.at(number);
  try {
    if (!slot.memory) slot.memory = make_slot(number, tensors);
    fill(slot);
  } catch (const StorageError& failure) {
    fail(failure);
    return nullptr;
  }
  ++taken_;
  newest_ = slot.step = manifest.step;
  newest_slot_ = number;
  manifest.state[kSnapshotStart] = options_.start;
  sealing_.store(true, std::memory_order_release);
  return slot.memory.get();
}

void Snapshots::take(CheckpointManifest manifest, const std::vector<NamedTensor>& tensors,
                     double step_seconds) {
  const auto copy = [&](Slot& slot) {
    const int64_t begin = now_ns();
    slot.memory->copy(tensors);
    constexpr double kMostOfAStep = 0.02;
    cost_too_much_ = slot.step > 0 && seconds_since(begin) >
                                          kMostOfAStep * static_cast<double>(every_) * step_seconds;
  };
  if (SnapshotSlot* slot = begin(manifest, tensors, copy))
    jobs_.push({.slot = slot, .manifest = std::move(manifest)});
}

void Snapshots::take(CheckpointManifest manifest, const std::vector<NamedTensor>& tensors,
                     double step_seconds, HostState& state) {
  if (state.same_memory()) return take(std::move(manifest), tensors, step_seconds);
  SnapshotSlot* slot = begin(manifest, tensors, [](Slot&) {});
  if (!slot) return;
  copying_.store(true, std::memory_order_release);
  arriving_ = &state;
  state.fetch([this, job = Job{.slot = slot,
                               .manifest = std::move(manifest),
                               .tensors = tensors,
                               .state = &state}]() mutable {
    arriving_ = nullptr;
    job.state->hold();
    jobs_.push(std::move(job));
  });
}

void Snapshots::wait() {
  if (arriving_) arriving_->wait();
  sealing_.wait(true, std::memory_order_acquire);
}

void Snapshots::run() {
  while (std::optional<Job> job = jobs_.pop()) {
    try {
      if (job->state) job->slot->copy(job->tensors);
    } catch (const StorageError& failure) {
      fail(failure);
    }
    if (job->state) job->state->release();
    copying_.store(false, std::memory_order_release);
    copying_.notify_all();
    try {
      if (!failed()) job->slot->seal(files_, std::move(job->manifest));
    } catch (const StorageError& failure) {
      fail(failure);
    }
    sealing_.store(false, std::memory_order_release);
    sealing_.notify_all();
  }
}

void Snapshots::fail(const StorageError& failure) {
  log_.error(std::string("no more snapshots: ") + failure.what());
  failed_.store(true, std::memory_order_relaxed);
}

const CheckpointManifest* Snapshots::sealed(int64_t step) const {
  for (const Slot& slot : slots_)
    if (slot.memory && slot.step == step && !slot.memory->sealed().shards.empty())
      return &slot.memory->sealed();
  return nullptr;
}

std::vector<NamedTensor> Snapshots::hold() {
  KENTE_CHECK(newest_ > 0, "nothing to hold");
  if (arriving_) arriving_->wait();
  copying_.wait(true, std::memory_order_acquire);
  held_.fetch_add(1, std::memory_order_acq_rel);
  return newest_slot().memory->tensors();
}

void Snapshots::release() {
  held_.fetch_sub(1, std::memory_order_acq_rel);
  held_.notify_all();
}

std::vector<NamedTensor> Snapshots::pin() {
  KENTE_CHECK(newest_ > 0, "nothing to pin");
  newest_slot().pinned = true;
  return newest_slot().memory->tensors();
}

void Snapshots::unpin(int64_t step) {
  for (Slot& slot : slots_)
    if (slot.step == step) slot.pinned = false;
}

void Snapshots::forget_after(int64_t step) {
  wait();
  for (const Slot& slot : slots_)
    if (slot.memory && slot.memory->sealed().step > step) slot.memory->hide();
}

void Snapshots::forget_twins() {
  for (size_t slot = 0; slot < slots_.size(); ++slot)
    if (slot != newest_slot_ && slots_[slot].memory && slots_[slot].step == newest_)
      slots_[slot].memory->hide();
}

void Snapshots::clear() {
  wait();
  for (int held = held_; held > 0; held = held_) held_.wait(held, std::memory_order_acquire);
  newest_ = 0;
  for (Slot& slot : slots_)
    if (slot.memory) remove_slot(files_, slot.memory, log_);
  every_ = 0;
}

}  // namespace kente
