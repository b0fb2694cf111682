#include "tests/pretend/pretend_gpu.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <new>
#include <utility>

#include "cuda/host/launch.h"

namespace kente::pretend {
namespace {

constexpr size_t kPinnedAlignment = 256;
constexpr int kLaziest = 2;
constexpr uint64_t kWeightLasts = 16;  // choices
constexpr int kNan = 0xff;

PretendNode* living = nullptr;

cudaError_t take_launch(const cuda::host::LaunchShape& shape, cudaStream_t stream,
                        std::function<void()> kernel) {
  if (stream == nullptr) return cudaErrorInvalidResourceHandle;
  return PretendNode::current()->gpu(stream->gpu).launch(shape, stream, std::move(kernel));
}

}  // namespace

PretendGpu::PretendGpu(int number, const GpuKind& kind, uint64_t seed)
    : number_(number),
      kind_(kind),
      random_(seed * 1000 + static_cast<uint64_t>(number)),
      laziness_(static_cast<int>(random_() % (kLaziest + 1))) {}

cudaStream_t PretendGpu::make_stream() {
  streams_.push_back(std::make_unique<CUstream_st>());
  streams_.back()->gpu = number_;
  streams_.back()->weight = any_weight();
  return streams_.back().get();
}

cudaEvent_t PretendGpu::make_event() {
  events_.push_back(std::make_unique<CUevent_st>());
  events_.back()->gpu = number_;
  return events_.back().get();
}

cudaError_t PretendGpu::put(cudaStream_t stream, Work work) {
  if (failed_ != cudaSuccess) return failed_;
  stream->queue.push_back(std::move(work));
  go_on(0);
  return cudaSuccess;  // what goes wrong later is told later
}

cudaError_t PretendGpu::launch(const cuda::host::LaunchShape& shape, cudaStream_t stream,
                               std::function<void()> kernel) {
  if (!cuda::host::Gpu::takes(shape)) return cudaErrorInvalidConfiguration;
  return put(stream, {.what = shape.kernel, .ready = {}, .run = [=, this] {
                        gpu_.launch(shape, kernel);
                        return cudaSuccess;
                      }});
}

cudaError_t PretendGpu::allocate(void** at, int64_t bytes) {
  if (failed_ != cudaSuccess) return failed_;
  if (bytes > free_bytes()) return cudaErrorMemoryAllocation;
  *at = memory().allocate("allocation " + std::to_string(memory().buffers().size()), bytes);
  used_bytes_ += bytes;
  return cudaSuccess;
}

// As a real one it waits for all work that is under way.
cudaError_t PretendGpu::release(void* at) {
  if (at == nullptr) return cudaSuccess;
  const auto* data = static_cast<const std::byte*>(at);
  const auto* buffer = memory().find(data, 1);
  if (buffer == nullptr || buffer->data != data) return cudaErrorInvalidValue;
  finish();
  used_bytes_ -= buffer->bytes;
  memory().release(data);
  return failed_;
}

void PretendGpu::fail_at(int64_t number, cudaError_t error) {
  fails_at_ = number;
  fails_with_ = error;
}

cudaError_t PretendGpu::fail(cudaError_t error, const std::string& why) {
  if (failed_ != cudaSuccess) return failed_;
  failed_ = error;
  complaint_ = why;
  return error;
}

void PretendGpu::go_on(int at_least) {
  int pieces = at_least;
  if (laziness_ == 0) pieces = INT32_MAX;
  if (laziness_ == 1) pieces += static_cast<int>(random_() % 3);
  while (pieces-- > 0 && do_one()) {
  }
}

void PretendGpu::finish() {
  while (do_one()) {
  }
}

bool PretendGpu::idle() const {
  return std::ranges::all_of(streams_, [](const auto& stream) { return stream->queue.empty(); });
}

bool PretendGpu::do_one() {
  if (failed_ != cudaSuccess || done_ >= hangs_at_) return false;
  std::vector<CUstream_st*> may;
  for (const auto& stream : streams_) {
    if (stream->queue.empty()) continue;
    const Work& first = stream->queue.front();
    if (!first.ready || first.ready()) may.push_back(stream.get());
  }
  if (may.empty()) return false;
  CUstream_st& chosen = choose(may);
  Work work = std::move(chosen.queue.front());
  chosen.queue.pop_front();
  const cudaError_t error = done_ == fails_at_ ? fails_with_ : run(work);
  ++done_;
  if (error != cudaSuccess) fail(error, work.what + ": " + cudaGetErrorName(error));
  return error == cudaSuccess;
}

// Chosen evenly, streams stay near each other, and what a missing wait allows is rare. Weights that
// change now and then are the idea of Burckhardt et al. 2010, "A randomized scheduler with
// probabilistic guarantees of finding bugs", section 3.
CUstream_st& PretendGpu::choose(const std::vector<CUstream_st*>& among) {
  int weights = 0;
  for (CUstream_st* stream : among) {
    if (random_() % kWeightLasts == 0) stream->weight = any_weight();
    weights += stream->weight;
  }
  auto ticket = static_cast<int>(random_() % static_cast<uint64_t>(weights));
  size_t chosen = 0;
  while ((ticket -= among[chosen]->weight) >= 0) ++chosen;
  return *among[chosen];
}

cudaError_t PretendGpu::run(Work& work) {
  try {
    return work.run();
  } catch (const std::exception& fault) {
    return fail(cudaErrorLaunchFailure, fault.what());
  }
}

PretendNode::PretendNode(int gpus, uint64_t seed, const GpuKind& kind) {
  for (int number = 0; number < gpus; ++number)
    gpus_.push_back(std::make_unique<PretendGpu>(number, kind, seed));
  living = this;
  cuda::host::take_launch = take_launch;
}

PretendNode::~PretendNode() {
  cuda::host::take_launch = nullptr;
  living = nullptr;
  while (!gpus_.empty()) gpus_.pop_back();  // the newest first, as their constructors ask for
  for (const auto& [at, bytes] : pinned_) std::free(const_cast<std::byte*>(at));
}

PretendNode* PretendNode::current() { return living; }

void* PretendNode::allocate_pinned(int64_t bytes) {
  void* at = nullptr;
  if (::posix_memalign(&at, kPinnedAlignment, static_cast<size_t>(bytes)) != 0)
    throw std::bad_alloc();
  std::memset(at, kNan, static_cast<size_t>(bytes));
  const std::lock_guard lock(mutex_);
  pinned_[static_cast<std::byte*>(at)] = bytes;
  return at;
}

bool PretendNode::release_pinned(void* at) {
  const std::lock_guard lock(mutex_);
  const auto found = pinned_.find(static_cast<std::byte*>(at));
  if (found == pinned_.end()) return false;
  pinned_.erase(found);
  std::free(at);
  return true;
}

bool PretendNode::is_pinned(const void* at, int64_t bytes) const {
  const auto* begin = static_cast<const std::byte*>(at);
  const std::lock_guard lock(mutex_);
  auto after = pinned_.upper_bound(begin);
  if (after == pinned_.begin()) return false;
  const auto& [data, size] = *--after;
  return begin + bytes <= data + size;
}

}  // namespace kente::pretend
