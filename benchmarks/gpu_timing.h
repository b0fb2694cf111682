#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/kernel_cases.h"
#include "csrc/base/unique_handle.h"

namespace kente::cuda {

/// Throws std::runtime_error "what: CUDA's words" for an error.
void check(cudaError_t error, const std::string& what);

struct Freed {
  void operator()(void* data) const { cudaFree(data); }
};
using DeviceBytes = std::unique_ptr<void, Freed>;
/// Zeros on the device.
DeviceBytes allocate(int64_t bytes);

/// A case's tensors on a real GPU.
class DeviceMemory : public KernelMemory {
 protected:
  void* zeros(int64_t bytes, Counted counted) override;
  void write(void* to, const void* from, int64_t bytes) override;

 private:
  std::vector<DeviceBytes> buffers_;
};

struct DestroyedStream {
  void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
  static constexpr std::nullptr_t none() { return nullptr; }
};
using Stream = UniqueHandle<cudaStream_t, DestroyedStream>;

/// The GPU that this process uses, and a stream on it.
struct Device {
  std::string name;
  int generation = 0;  // 10 major + minor
  int multiprocessors = 0;
  Stream stream;
};
/// Throws std::runtime_error when there is none.
Device open_device();

inline constexpr int kLaunchesTimed = 5;
/// Seconds of one launch, the mean of kLaunchesTimed between two events.
double seconds_of(const std::function<cudaError_t()>& launch, cudaStream_t stream);

/// Whether a case is what GPUs of this generation do.
bool runs_on(const KernelCase& kernel, int generation);

/// Large enough that no cache holds a kernel's tensors.
inline constexpr KernelSizes kGpuSizes{
    .rows = 16384, .loss_rows = 4096, .parameters = int64_t{1} << 27};

}  // namespace kente::cuda
