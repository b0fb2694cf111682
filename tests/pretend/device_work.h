#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "csrc/base/dtype.h"
#include "tests/pretend/pretend_gpu.h"

namespace kente::pretend {

/// Puts work that a library would do, in plain loops, into a stream. It may throw: then the device
/// has failed, and what it said is the complaint. Throws DeviceError where the device had before.
void queue_work(cudaStream_t stream, const std::string& what, std::function<void()> work);

/// Numbers in a GPU's memory: in rows of any number of dimensions, each with a stride in elements.
/// Made when work is done, in which all of them must lie in one living allocation; else it throws.
class DeviceArray {
 public:
  DeviceArray(PretendGpu& gpu, DType dtype, void* data, std::vector<int64_t> sizes,
              std::vector<int64_t> strides);

  double get(const std::vector<int64_t>& at) const;
  /// Rounded to the dtype.
  void set(const std::vector<int64_t>& at, double value) const;
  void add(const std::vector<int64_t>& at, double value) const { set(at, get(at) + value); }
  int64_t size(size_t dimension) const { return sizes_[dimension]; }

 private:
  int64_t index(const std::vector<int64_t>& at) const;

  DType dtype_;
  void* data_;
  std::vector<int64_t> sizes_, strides_;
};

}  // namespace kente::pretend
