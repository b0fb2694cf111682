#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
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

  double get(std::initializer_list<int64_t> at) const { return load(index(at)); }
  double get(const std::vector<int64_t>& at) const { return load(index(at)); }
  /// Rounded to the dtype.
  void set(std::initializer_list<int64_t> at, double value) const { store(index(at), value); }
  void set(const std::vector<int64_t>& at, double value) const { store(index(at), value); }
  int64_t size(size_t dimension) const { return sizes_[dimension]; }

 private:
  template <typename At>
  int64_t index(const At& at) const {
    int64_t index = 0;
    size_t i = 0;
    for (const int64_t number : at) {
      if (number < 0 || number >= sizes_[i]) fail("an index beyond its dimension");
      index += number * strides_[i++];
    }
    return index;
  }
  [[noreturn]] static void fail(const std::string& what);
  double load(int64_t i) const;
  void store(int64_t i, double value) const;

  DType dtype_;
  void* data_;
  std::vector<int64_t> sizes_, strides_;
};

}  // namespace kente::pretend
