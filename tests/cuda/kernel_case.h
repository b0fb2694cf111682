#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/dtype.h"
#include "cuda/host/gpu.h"
#include "cuda/queue.h"
#include "cuda/reference.h"

namespace kente::cuda {

using Values = reference::Values;

/// A tensor in the pretended GPU's memory, seen as doubles.
class DeviceTensor {
 public:
  DeviceTensor() = default;
  DeviceTensor(host::Gpu& gpu, std::string name, DataType dtype, int64_t count);

  template <class T = void>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }
  const std::string& name() const { return name_; }
  int64_t count() const { return count_; }
  int64_t bytes() const { return count_ * size_of(dtype_); }
  void set(const Values& values) const;
  Values values() const;

 private:
  std::string name_;
  DataType dtype_ = DataType::kF32;
  int64_t count_ = 0;
  std::byte* data_ = nullptr;
};

/// Runs kernels on a pretended GPU, in every order of turns, and says what they moved.
class KernelCase : public testing::Test {
 protected:
  DeviceTensor tensor(const std::string& name, DataType dtype, int64_t count) {
    return DeviceTensor(gpu_, name, dtype, count);
  }
  /// Filled with those values, rounded to the dtype.
  DeviceTensor tensor(const std::string& name, DataType dtype, const Values& values);
  /// With bell-shaped values that depend on the name alone.
  DeviceTensor random(const std::string& name, DataType dtype, int64_t count, double scale = 1);

  /// A small array of integers, or of structs, beside the bulk.
  template <class T>
  T* array(const std::string& name, const std::vector<T>& values) {
    const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
    std::byte* data = gpu_.memory().allocate(name, bytes);
    std::memcpy(data, values.data(), values.size() * sizeof(T));
    return reinterpret_cast<T*>(data);
  }

  /// How often each of the tensor's bytes was loaded, and stored, on average; every one of them by
  /// accesses of 16 bytes, and by whole sectors.
  void expect_moved(const DeviceTensor& tensor, double loads, double stores);

  host::Gpu gpu_{host::TurnOrder::kEvery};
  Queue queue_;
};

/// The largest difference, each against tolerance (1 + |wanted|) scale; NaN anywhere is a failure.
void expect_close(const Values& got, const Values& wanted, double tolerance);

/// How far a result of that dtype, computed in fp32, may be from the truth.
double tolerance_of(DataType dtype);

std::string name_of(DataType dtype);

inline constexpr DataType kAllTypes[] = {DataType::kF32, DataType::kF16, DataType::kBF16};

}  // namespace kente::cuda
