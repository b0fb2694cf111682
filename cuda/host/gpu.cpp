#include "cuda/host/gpu.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

namespace kente::cuda::host {
namespace {

constexpr unsigned kWarp = 32;
constexpr unsigned kMostThreads = 1024;
constexpr unsigned kMostBlocksBeside = 65535;  // in y and z
constexpr size_t kMostShared = size_t{227} << 10;

// The GPU whose kernels this OS thread runs, as a real one's registers hold which thread runs.
thread_local Gpu* newest = nullptr;

/// While it runs a kernel, a GPU is the one that the kernel finds.
struct AtWork {
  Gpu* const before;
  ~AtWork() { newest = before; }
};

std::string text(const Site& site) {
  return std::string(site.file) + ":" + std::to_string(site.line);
}

uint64_t place_of(const Site& site) {
  return (reinterpret_cast<uintptr_t>(site.file) << 16) ^ site.line;
}

bool same(const Site& a, const Site& b) {
  return a.line == b.line && std::strcmp(a.file, b.file) == 0;
}

}  // namespace

struct Gpu::Lane {
  enum class State { kReady, kWaiting, kEnded };
  Gpu* gpu = nullptr;
  unsigned number = 0;  // within the block
  uint3 index{};
  State state = State::kEnded;
  const Site* waits_at = nullptr;
  std::map<uint64_t, unsigned> visits;  // by place
  Fibre fibre;

  unsigned warp() const { return number / kWarp; }
  uint32_t bit() const { return uint32_t{1} << number % kWarp; }
};

/// Lanes of a warp that come together at one place.
struct Gpu::Meeting {
  Kind kind{};
  uint32_t mask = 0, arrived = 0, left = 0;
  Site site;
  LaneValues values{};
  char place = 0;  // for ThreadSanitizer: every meeting has its own, so an older one orders nothing

  bool complete() const { return arrived == mask; }
};

Gpu::Gpu(TurnOrder order, uint64_t seed) : order_(order), random_(seed), outer_(newest) {
  newest = this;
}

Gpu::~Gpu() { newest = outer_; }

Gpu* Gpu::current() { return newest; }

uint3 Gpu::thread_index() const { return lane_->index; }

bool Gpu::takes(const LaunchShape& shape) {
  const dim3 &grid = shape.grid, &block = shape.block;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > kMostThreads || block.z > 64) return false;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return false;
  if (grid.x > INT32_MAX || grid.y > kMostBlocksBeside || grid.z > kMostBlocksBeside) return false;
  return shape.dynamic_bytes <= kMostShared;
}

bool Gpu::launch(const LaunchShape& shape, const std::function<void()>& kernel) {
  if (!takes(shape)) return false;
  const AtWork here{std::exchange(newest, this)};
  ++launches_;
  shape_ = shape;
  kernel_ = &kernel;
  lane_count_ = shape.block.x * shape.block.y * shape.block.z;
  if (order_ == TurnOrder::kEvery)
    run_in_every_order();
  else
    run_grid(order_);
  return true;
}

void Gpu::run_in_every_order() {
  const DeviceMemory::State before = memory_.state();
  run_grid(TurnOrder::kForward);
  const DeviceMemory::State after = memory_.state();
  for (const TurnOrder order : {TurnOrder::kReversed, TurnOrder::kShuffled}) {
    memory_.restore(before);
    run_grid(order);
    const std::string difference = memory_.difference(after);
    memory_.restore(after);
    if (!difference.empty())
      throw KernelError(std::string(shape_.kernel) +
                        ": threads that take turns in another order leave other bits in " +
                        difference);
  }
}

void Gpu::run_grid(TurnOrder order) {
  turn_order_ = order;
  const dim3& grid = shape_.grid;
  for (const unsigned number : turns(uint64_t{grid.x} * grid.y * grid.z)) {
    block_index_ = {number % grid.x, number / grid.x % grid.y, number / grid.x / grid.y};
    run_block();
  }
}

std::vector<unsigned> Gpu::turns(uint64_t count) {
  std::vector<unsigned> order(count);
  std::iota(order.begin(), order.end(), 0u);
  if (turn_order_ == TurnOrder::kReversed) std::reverse(order.begin(), order.end());
  if (turn_order_ == TurnOrder::kShuffled) std::shuffle(order.begin(), order.end(), random_);
  return order;
}

void Gpu::begin_block() {
  ended_ = at_barrier_ = barriers_ = 0;
  barrier_places_ = {};
  meetings_.clear();
  meetings_.resize((lane_count_ + kWarp - 1) / kWarp);
  while (lanes_.size() < lane_count_) lanes_.push_back(std::make_unique<Lane>());
  for (unsigned number = 0; number < lane_count_; ++number) {
    Lane& lane = *lanes_[number];
    lane.gpu = this;
    lane.number = number;
    lane.index = {number % shape_.block.x, number / shape_.block.x % shape_.block.y,
                  number / shape_.block.x / shape_.block.y};
    lane.state = Lane::State::kReady;
    lane.visits.clear();
    lane.fibre.start(&Gpu::run_lane, &lane);
  }
  Fibre::release(&start_place_);
}

/// Each as far as it can go; false: none could move.
bool Gpu::run_lanes(const std::vector<unsigned>& numbers) {
  bool moved = false;
  for (const unsigned number : numbers) {
    Lane& lane = *lanes_[number];
    if (lane.state != Lane::State::kReady) continue;
    moved = true;
    lane_ = &lane;
    lane.fibre.resume();
    lane_ = nullptr;
    if (error_.empty() && lane.fibre.finished()) lane_ended(lane);
    if (!error_.empty()) break;
  }
  return moved;
}

/// One round over the block's lanes.
bool Gpu::take_turns() {
  const bool by_warp = turn_order_ == TurnOrder::kReversed ||
                       (turn_order_ == TurnOrder::kShuffled && random_() % 2 == 0);
  if (!by_warp) return run_lanes(turns(lane_count_));
  bool moved = false;
  for (const unsigned warp : turns((lane_count_ + kWarp - 1) / kWarp)) {
    std::vector<unsigned> lanes(std::min(kWarp, lane_count_ - warp * kWarp));
    std::iota(lanes.rbegin(), lanes.rend(), warp * kWarp);
    while (error_.empty() && run_lanes(lanes)) moved = true;
  }
  return moved;
}

void Gpu::run_block() {
  begin_block();
  while (ended_ < lane_count_) {
    const bool moved = take_turns();
    if (error_.empty() && !moved) check_nobody_waits();
    if (error_.empty()) continue;
    // What the other threads have on their stacks is given up; kernels own nothing.
    for (const auto& lane : lanes_) lane->fibre.give_up(&end_place_);
    end_block();
    lanes_.clear();
    throw KernelError(std::exchange(error_, std::string()));
  }
  end_block();
}

void Gpu::end_block() {
  Fibre::acquire(&end_place_);
  shared_.clear();
  shared_bytes_ = 0;
  traffic_.settle();
}

void Gpu::run_lane(void* lane) {
  Gpu& gpu = *static_cast<Lane*>(lane)->gpu;
  Fibre::acquire(&gpu.start_place_);
  try {
    (*gpu.kernel_)();
  } catch (const KernelError& error) {
    gpu.error_ = error.what();
  }
  Fibre::release(&gpu.end_place_);
}

void Gpu::lane_ended(const Lane& lane) {
  lanes_[lane.number]->state = Lane::State::kEnded;
  ++ended_;
  if (at_barrier_ > 0)
    error_ = where(lane) + " ended while others wait at the barrier at " + text(barrier_site_);
  for (const auto& meeting : meetings_[lane.warp()])
    if (!meeting->complete() && meeting->mask & lane.bit())
      error_ = where(lane) + " ended while its warp waits for it at " + text(meeting->site);
}

// Nobody can move and not all have ended: some wait for what never comes.
void Gpu::check_nobody_waits() {
  for (unsigned number = 0; number < lane_count_; ++number)
    if (lanes_[number]->state == Lane::State::kWaiting)
      error_ = where(*lanes_[number]) + " waits for ever at " + text(*lanes_[number]->waits_at);
}

std::string Gpu::where(const Lane& lane) const {
  const auto triple = [](const uint3& at) {
    return "(" + std::to_string(at.x) + "," + std::to_string(at.y) + "," + std::to_string(at.z) +
           ")";
  };
  return std::string(shape_.kernel) + ": block " + triple(block_index_) + " thread " +
         triple(lane.index);
}

void Gpu::fail(const std::string& what, const Site& site) {
  throw KernelError(where(*lane_) + " " + what + " at " + text(site));
}

// Two places that take turns tell ThreadSanitizer of barriers: with a single one, threads that are
// already past this barrier would seem to be past the next one too.
void Gpu::barrier(const Site& site) {
  Lane& lane = *lane_;
  if (at_barrier_ > 0 && !same(site, barrier_site_))
    fail("came to a barrier while others wait at " + text(barrier_site_), site);
  if (ended_ > 0) fail("came to a barrier that a thread which has ended will miss", site);
  barrier_site_ = site;
  char* const place = &barrier_places_[barriers_ % 2];
  Fibre::release(place);
  if (++at_barrier_ < lane_count_) {
    lane.state = Lane::State::kWaiting;
    lane.waits_at = &site;
    lane.fibre.suspend();
  } else {
    at_barrier_ = 0;
    ++barriers_;
    for (unsigned number = 0; number < lane_count_; ++number)
      lanes_[number]->state = Lane::State::kReady;
  }
  Fibre::acquire(place);
}

/// The meeting that the running lane comes to.
Gpu::Meeting& Gpu::meeting_of(Kind kind, uint32_t mask, const Site& site) {
  const Lane& lane = *lane_;
  auto& meetings = meetings_[lane.warp()];
  if (!(mask & lane.bit())) fail("is not in the mask it gave", site);
  Meeting* found = nullptr;
  for (const auto& other : meetings) {
    if (other->complete()) continue;
    if (other->mask == mask && other->kind == kind && same(other->site, site))
      found = other.get();
    else if (other->mask & mask)
      fail("meets lanes that gave another mask or wait at " + text(other->site) + ", not", site);
  }
  if (found == nullptr) {
    meetings.push_back(std::make_unique<Meeting>());
    found = meetings.back().get();
    found->kind = kind;
    found->mask = mask;
    found->site = site;
  }
  for (unsigned bit = 0; bit < kWarp; ++bit) {
    const unsigned number = lane.warp() * kWarp + bit;
    if (!(mask >> bit & 1)) continue;
    if (number >= lane_count_ || lanes_[number]->state == Lane::State::kEnded)
      fail("waits for lane " + std::to_string(bit) + ", which has ended or never was", site);
  }
  return *found;
}

/// True: all are there, and those that waited can go on.
bool Gpu::arrive(Meeting& meeting, uint64_t value) {
  const Lane& lane = *lane_;
  meeting.values[lane.number % kWarp] = value;
  meeting.arrived |= lane.bit();
  if (!meeting.complete()) return false;
  for (unsigned bit = 0; bit < kWarp; ++bit)
    if (meeting.mask >> bit & 1) lanes_[lane.warp() * kWarp + bit]->state = Lane::State::kReady;
  return true;
}

Gpu::LaneValues Gpu::meet(Kind kind, uint32_t mask, uint64_t value, const Site& site) {
  Lane& lane = *lane_;
  Meeting* meeting = nullptr;
  {
    const Fibre::Outside outside(lane.fibre);
    meeting = &meeting_of(kind, mask, site);
  }
  if (kind == Kind::kBarrier) Fibre::release(&meeting->place);
  if (!arrive(*meeting, value)) {
    lane.state = Lane::State::kWaiting;
    lane.waits_at = &site;
    lane.fibre.suspend();
  }
  if (kind == Kind::kBarrier) Fibre::acquire(&meeting->place);
  const LaneValues values = meeting->values;
  meeting->left |= lane.bit();
  if (meeting->left == mask) {
    const Fibre::Outside outside(lane.fibre);
    std::erase_if(meetings_[lane.warp()], [&](const auto& m) { return m.get() == meeting; });
  }
  return values;
}

std::optional<uint64_t> Gpu::exchange(uint32_t mask, uint64_t value, unsigned source,
                                      const Site& site) {
  const LaneValues values = meet(Kind::kShuffle, mask, value, site);
  if (!(mask >> source & 1)) return std::nullopt;
  return values[source];
}

uint32_t Gpu::vote(uint32_t mask, bool value, const Site& site) {
  const LaneValues values = meet(Kind::kVote, mask, value ? 1 : 0, site);
  uint32_t votes = 0;
  for (unsigned bit = 0; bit < kWarp; ++bit)
    votes |= uint32_t{values[bit] != 0 && (mask >> bit & 1) != 0} << bit;
  return votes;
}

void Gpu::warp_barrier(uint32_t mask, const Site& site) { meet(Kind::kBarrier, mask, 0, site); }

void* Gpu::shared(size_t bytes, size_t alignment, const Site& site) {
  void* data = nullptr;
  {
    const Fibre::Outside outside(lane_->fibre);
    const uint64_t place = place_of(site);
    auto found = shared_.find(place);
    if (found == shared_.end()) {
      shared_bytes_ += bytes;
      if (shared_bytes_ > kMostShared) fail("wants more shared memory than a block may have", site);
      found = shared_.emplace(place, SharedBlock(bytes, alignment)).first;
      Fibre::release(&shared_place_);
    }
    if (found->second.bytes() != bytes) fail("asks for another size than was given there", site);
    data = found->second.data();
  }
  Fibre::acquire(&shared_place_);
  return data;
}

std::byte* Gpu::check(const void* at, int bytes, Access access, const Site& site) {
  const Fibre::Outside outside(lane_->fibre);
  auto* data = static_cast<std::byte*>(const_cast<void*>(at));
  const char* const what = access == Access::kLoad ? "load" : "store";
  if (reinterpret_cast<uintptr_t>(at) % static_cast<uintptr_t>(bytes) != 0)
    fail("has a misaligned " + std::to_string(bytes) + "-byte " + what, site);
  DeviceMemory::Buffer* buffer = memory_.find(data, bytes);
  if (buffer == nullptr)
    fail("has a " + std::to_string(bytes) + "-byte " + what + " outside every buffer", site);
  Lane& lane = *lane_;
  const uint64_t place = place_of(site) ^ (access == Access::kLoad ? 0 : uint64_t{1} << 63);
  traffic_.count(*buffer, access, data, bytes, place, lane.warp(), lane.visits[place]++);
  return data;
}

void Gpu::load(void* to, const void* from, int bytes, const Site& site) {
  std::memcpy(to, check(from, bytes, Access::kLoad, site), static_cast<size_t>(bytes));
}

void Gpu::store(void* to, const void* from, int bytes, const Site& site) {
  std::memcpy(check(to, bytes, Access::kStore, site), from, static_cast<size_t>(bytes));
}

void Gpu::add(void* to, uint64_t value, int bytes, const Site& site) {
  const auto size = static_cast<size_t>(bytes);
  const std::byte* const data = check(to, bytes, Access::kLoad, site);
  check(to, bytes, Access::kStore, site);
  const Fibre::Outside outside(lane_->fibre);  // an atomic is no race
  uint64_t sum = 0;
  std::memcpy(&sum, data, size);
  sum += value;
  std::memcpy(to, &sum, size);
}

}  // namespace kente::cuda::host
