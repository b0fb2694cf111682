// CUDA's runtime as far as csrc/device calls it, over PretendNode. The signatures are those of
// cuda_runtime_api.h; what real calls do is in NVIDIA's reference of the runtime.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstring>
#include <memory>

#include "csrc/base/clock.h"
#include "tests/pretend/pretend_gpu.h"

namespace {

using kente::pretend::PretendGpu;
using kente::pretend::PretendNode;

constexpr int kVersion = 13000;

thread_local int current_gpu = 0;

PretendGpu& gpu_of(int number) { return PretendNode::current()->gpu(number); }

/// Once a device has failed all calls that concern it say so.
cudaError_t answer(int number) { return gpu_of(number).failed(); }

bool usable(cudaStream_t stream) { return stream != nullptr && !stream->ended; }

/// A GPU may touch these bytes: they are its own, or pinned.
bool reachable(PretendGpu& gpu, const void* at, size_t bytes) {
  const auto count = static_cast<int64_t>(bytes);
  return gpu.memory().find(static_cast<const std::byte*>(at), count) != nullptr ||
         PretendNode::current()->is_pinned(at, count);
}

}  // namespace

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = PretendNode::current() == nullptr ? 0 : PretendNode::current()->count();
  return *count == 0 ? cudaErrorNoDevice : cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= PretendNode::current()->count()) return cudaErrorInvalidDevice;
  current_gpu = device;
  return answer(device);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const auto& kind = gpu_of(device).kind();
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "Pretended GPU");
  properties->major = kind.compute_capability / 10;
  properties->minor = kind.compute_capability % 10;
  properties->totalGlobalMem = static_cast<size_t>(kind.memory_bytes);
  return answer(device);
}

cudaError_t cudaDeviceGetPCIBusId(char* text, int bytes, int device) {
  std::snprintf(text, static_cast<size_t>(bytes), "0000:%02x:00.0", static_cast<unsigned>(device));
  return answer(device);
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const PretendGpu& gpu = gpu_of(current_gpu);
  *free = static_cast<size_t>(gpu.free_bytes());
  *total = static_cast<size_t>(gpu.kind().memory_bytes);
  return gpu.failed();
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = kVersion;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = kVersion;
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** at, size_t bytes) {
  return gpu_of(current_gpu).allocate(at, static_cast<int64_t>(bytes));
}

cudaError_t cudaFree(void* at) { return gpu_of(current_gpu).release(at); }

cudaError_t cudaHostAlloc(void** at, size_t bytes, unsigned) {
  *at = PretendNode::current()->allocate_pinned(static_cast<int64_t>(bytes));
  return answer(current_gpu);
}

// As a real one it waits for all work that is under way.
cudaError_t cudaFreeHost(void* at) {
  gpu_of(current_gpu).finish();
  return PretendNode::current()->release_pinned(at) ? cudaSuccess : cudaErrorInvalidValue;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  // One that waits for the default stream, which nothing of ours uses, would be a mistake.
  if (flags != cudaStreamNonBlocking) return cudaErrorInvalidValue;
  *stream = gpu_of(current_gpu).make_stream();
  return answer(current_gpu);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (!usable(stream)) return cudaErrorInvalidResourceHandle;
  stream->ended = true;
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = gpu_of(current_gpu).make_event();
  (*event)->timed = (flags & cudaEventDisableTiming) == 0;
  return answer(current_gpu);
}

// Who still waits for it may.
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (!usable(stream) || stream->gpu != event->gpu) return cudaErrorInvalidResourceHandle;
  const auto passed = event->passed = std::make_shared<bool>(false);
  const auto passed_ns = event->passed_ns = std::make_shared<int64_t>(0);
  return gpu_of(stream->gpu).put(stream, {.what = "an event", .ready = {}, .run = [=] {
                                            *passed = true;
                                            *passed_ns = kente::now_ns();
                                            return cudaSuccess;
                                          }});
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  PretendGpu& gpu = gpu_of(event->gpu);
  const auto passed = [&] { return event->passed == nullptr || *event->passed; };
  if (!passed()) gpu.go_on(1);
  if (gpu.failed() != cudaSuccess) return gpu.failed();
  return passed() ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t from, cudaEvent_t to) {
  if (from->gpu != to->gpu) return cudaErrorInvalidResourceHandle;
  for (const cudaEvent_t event : {from, to}) {
    if (!event->timed || event->passed == nullptr) return cudaErrorInvalidResourceHandle;
    if (!*event->passed) return cudaErrorNotReady;
  }
  *milliseconds = static_cast<float>(*to->passed_ns - *from->passed_ns) * 1e-6f;
  return gpu_of(from->gpu).failed();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (!usable(stream)) return cudaErrorInvalidResourceHandle;
  if (event->passed == nullptr) return cudaSuccess;  // never recorded
  return gpu_of(stream->gpu)
      .put(stream, {.what = "a wait",
                    .ready = [passed = event->passed] { return *passed; },
                    .run = [] { return cudaSuccess; }});
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind,
                            cudaStream_t stream) {
  if (!usable(stream)) return cudaErrorInvalidResourceHandle;
  PretendGpu& gpu = gpu_of(stream->gpu);
  if (!reachable(gpu, to, bytes) || !reachable(gpu, from, bytes)) return cudaErrorInvalidValue;
  return gpu.put(stream, {.what = "a copy", .ready = {}, .run = [=, &gpu] {
                            if (!reachable(gpu, to, bytes) || !reachable(gpu, from, bytes))
                              return cudaErrorIllegalAddress;
                            std::memmove(to, from, bytes);
                            return cudaSuccess;
                          }});
}

cudaError_t cudaMemsetAsync(void* at, int value, size_t bytes, cudaStream_t stream) {
  if (!usable(stream)) return cudaErrorInvalidResourceHandle;
  PretendGpu& gpu = gpu_of(stream->gpu);
  if (!reachable(gpu, at, bytes)) return cudaErrorInvalidValue;
  return gpu.put(stream, {.what = "a fill", .ready = {}, .run = [=, &gpu] {
                            if (!reachable(gpu, at, bytes)) return cudaErrorIllegalAddress;
                            std::memset(at, value, bytes);
                            return cudaSuccess;
                          }});
}

cudaError_t cudaGetLastError() { return cudaSuccess; }

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorECCUncorrectable:
      return "cudaErrorECCUncorrectable";
    default:
      return "another cudaError";
  }
}

const char* cudaGetErrorString(cudaError_t) { return "in words"; }

}  // extern "C"
