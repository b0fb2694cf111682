#include "tests/cuda/kernel_case.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>

namespace kente::cuda {
namespace {

double value_at(const std::byte* data, DataType dtype, size_t i) {
  switch (dtype) {
    case DataType::kF32:
      return reinterpret_cast<const float*>(data)[i];
    case DataType::kF16:
      return __half2float(reinterpret_cast<const __half*>(data)[i]);
    case DataType::kBF16:
      break;
  }
  return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(data)[i]);
}

void set_at(std::byte* data, DataType dtype, size_t i, float value) {
  switch (dtype) {
    case DataType::kF32:
      reinterpret_cast<float*>(data)[i] = value;
      return;
    case DataType::kF16:
      reinterpret_cast<__half*>(data)[i] = __float2half_rn(value);
      return;
    case DataType::kBF16:
      break;
  }
  reinterpret_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16_rn(value);
}

}  // namespace

DeviceTensor::DeviceTensor(host::Gpu& gpu, std::string name, DataType dtype, int64_t count)
    : name_(std::move(name)),
      dtype_(dtype),
      count_(count),
      data_(gpu.memory().allocate(name_, count * size_of(dtype))) {}

void DeviceTensor::set(const Values& values) const {
  ASSERT_EQ(static_cast<int64_t>(values.size()), count_);
  for (size_t i = 0; i < values.size(); ++i)
    set_at(data_, dtype_, i, static_cast<float>(values[i]));
}

Values DeviceTensor::values() const {
  Values values(static_cast<size_t>(count_));
  for (size_t i = 0; i < values.size(); ++i) values[i] = value_at(data_, dtype_, i);
  return values;
}

DeviceTensor KernelCase::tensor(const std::string& name, DataType dtype, const Values& values) {
  DeviceTensor result(gpu_, name, dtype, static_cast<int64_t>(values.size()));
  result.set(values);
  return result;
}

DeviceTensor KernelCase::random(const std::string& name, DataType dtype, int64_t count,
                                double scale) {
  std::mt19937 source(static_cast<unsigned>(std::hash<std::string>()(name)));
  std::normal_distribution<double> normal(0, scale);
  Values values(static_cast<size_t>(count));
  for (double& value : values) value = normal(source);
  return tensor(name, dtype, values);
}

void KernelCase::expect_moved(const DeviceTensor& tensor, double loads, double stores) {
  const host::DeviceMemory::Buffer& buffer = gpu_.memory().buffer(tensor.name());
  const auto bytes = static_cast<double>(tensor.bytes());
  EXPECT_EQ(static_cast<double>(buffer.loads.bytes) / bytes, loads) << "loads of " << tensor.name();
  EXPECT_EQ(static_cast<double>(buffer.stores.bytes) / bytes, stores)
      << "stores of " << tensor.name();
  for (const host::Traffic& traffic : {buffer.loads, buffer.stores}) {
    EXPECT_EQ(traffic.wide_bytes, traffic.bytes) << "not by 16 bytes: " << tensor.name();
    EXPECT_EQ(traffic.sectors, traffic.least_sectors) << "parts of sectors: " << tensor.name();
  }
}

void expect_close(const Values& got, const Values& wanted, double tolerance) {
  ASSERT_EQ(got.size(), wanted.size());
  size_t worst = 0;
  double most = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double off = std::fabs(got[i] - wanted[i]) / (1 + std::fabs(wanted[i]));
    if (off <= most) continue;
    worst = i;
    most = std::isnan(off) ? INFINITY : off;
  }
  EXPECT_LE(most, tolerance) << "element " << worst << " of " << got.size() << " is " << got[worst]
                             << ", want " << wanted[worst];
}

double tolerance_of(DataType dtype) {
  switch (dtype) {
    case DataType::kF32:
      return 2e-6;
    case DataType::kF16:
      return 0x1p-11 + 2e-6;  // half of a unit in the last place
    case DataType::kBF16:
      break;
  }
  return 0x1p-8 + 2e-6;
}

std::string name_of(DataType dtype) {
  switch (dtype) {
    case DataType::kF32:
      return "F32";
    case DataType::kF16:
      return "F16";
    case DataType::kBF16:
      break;
  }
  return "BF16";
}

}  // namespace kente::cuda
