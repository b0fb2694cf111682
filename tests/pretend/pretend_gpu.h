#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

#include "cuda/host/gpu.h"

/// What cudaEvent_t points to.
struct CUevent_st {
  int gpu = 0;
  std::shared_ptr<bool> passed;  // of the newest record, null: none; waits hold on to theirs
  bool timed = false;
  std::shared_ptr<int64_t> passed_ns;  // of that record
};

namespace kente::pretend {

/// One piece of a stream's work.
struct Work {
  std::string what;
  std::function<bool()> ready;       // may begin; empty: as soon as it is the first
  std::function<cudaError_t()> run;  // what comes of it
};

}  // namespace kente::pretend

/// What cudaStream_t points to.
struct CUstream_st {
  int gpu = 0;
  int weight = 1;      // how likely it is chosen
  bool ended = false;  // nobody puts more into it; what it has is done
  std::deque<kente::pretend::Work> queue;
};

namespace kente::pretend {

struct GpuKind {
  int compute_capability = 90;
  int64_t memory_bytes = int64_t{1} << 30;
};

/// A pretended GPU. Work that is put into its streams is done later, on the thread that calls the
/// runtime: a piece now and then, from a stream chosen at random among those that may go on, and
/// more when somebody asks whether an event has passed. Everything legal happens for some seed;
/// some streams are favoured for a while, so that others fall far behind.
///
/// Stricter than a real one: no default stream; a copy's host side must be pinned; memory outside
/// live allocations must not be touched; freed memory is NaN, and stays.
class PretendGpu {
 public:
  PretendGpu(int number, const GpuKind& kind, uint64_t seed);

  const GpuKind& kind() const { return kind_; }
  /// Allocations, and what kernels read and wrote.
  cuda::host::DeviceMemory& memory() { return gpu_.memory(); }
  int64_t free_bytes() const { return kind_.memory_bytes - used_bytes_; }
  /// What went wrong in it first; all later calls answer the same, as a real one's do.
  cudaError_t failed() const { return failed_; }
  /// In words; empty: nothing.
  const std::string& complaint() const { return complaint_; }
  /// Pieces of work that were done.
  int64_t done() const { return done_; }

  /// The piece of work that is done as number (from 0) fails with that error.
  void fail_at(int64_t number, cudaError_t error);
  /// No piece of work from that number on is done.
  void hang_at(int64_t number) { hangs_at_ = number; }

  // For the runtime's functions.
  cudaStream_t make_stream();
  cudaEvent_t make_event();
  cudaError_t put(cudaStream_t stream, Work work);
  cudaError_t launch(const cuda::host::LaunchShape& shape, cudaStream_t stream,
                     std::function<void()> kernel);
  cudaError_t allocate(void** at, int64_t bytes);
  cudaError_t release(void* at);
  /// Does some work, or none; at_least: so many pieces, while there are any that may begin.
  void go_on(int at_least);
  /// Does all work that may begin.
  void finish();
  /// Nothing is left to be done.
  bool idle() const;
  /// The device, and the reason in complaint(), is lost.
  cudaError_t fail(cudaError_t error, const std::string& why);

 private:
  bool do_one();
  CUstream_st& choose(const std::vector<CUstream_st*>& among);
  int any_weight() { return 1 << (3 * (random_() % 3)); }
  cudaError_t run(Work& work);

  const int number_;
  const GpuKind kind_;
  std::mt19937_64 random_;
  const int laziness_;  // 0: all work is done at once; 1: now and then; 2: when somebody asks
  cuda::host::Gpu gpu_;
  std::vector<std::unique_ptr<CUstream_st>> streams_;
  std::vector<std::unique_ptr<CUevent_st>> events_;
  int64_t used_bytes_ = 0, done_ = 0;
  int64_t hangs_at_ = INT64_MAX, fails_at_ = INT64_MAX;
  cudaError_t fails_with_ = cudaSuccess, failed_ = cudaSuccess;
  std::string complaint_;
};

/// The GPUs that the runtime's functions find while this object lives; one at a time. A thread
/// that calls the runtime is a rank: what it calls for is its current GPU's (cudaSetDevice).
class PretendNode {
 public:
  PretendNode(int gpus, uint64_t seed, const GpuKind& kind = {});
  ~PretendNode();
  PretendNode(const PretendNode&) = delete;
  PretendNode& operator=(const PretendNode&) = delete;

  /// The living one, or null.
  static PretendNode* current();
  int count() const { return static_cast<int>(gpus_.size()); }
  PretendGpu& gpu(int number) { return *gpus_.at(static_cast<size_t>(number)); }

  /// Host memory that a GPU may copy to and from; shared by all.
  void* allocate_pinned(int64_t bytes);
  bool release_pinned(void* at);
  bool is_pinned(const void* at, int64_t bytes) const;

 private:
  std::vector<std::unique_ptr<PretendGpu>> gpus_;
  mutable std::mutex mutex_;
  std::map<const std::byte*, int64_t> pinned_;
};

}  // namespace kente::pretend
