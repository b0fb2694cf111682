// What the optimizer and the reductions ask of a pretended GPU beside the CPU's.
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "csrc/nn/ops/gpu_ops.h"
#include "tests/nn/one_gpu.h"
#include "tests/nn/tiny_model.h"

namespace kente {
namespace {

constexpr int64_t kCount = 2048;

at::Tensor random_floats(uint64_t stream) { return random_tensor({kCount}, stream).to(at::kFloat); }

class GpuStepOps : public testing::TestWithParam<at::ScalarType> {
 protected:
  const at::AutoDispatchBelowADInplaceOrView no_autograd_;
  OneGpu one_{3};
};

// Two pieces of which one decays, and a gap that neither touches.
TEST_P(GpuStepOps, AdamWIsTheCpus) {
  const at::ScalarType copy = GetParam();
  const AdamWFactors factors = {.gradient = 0.5f,
                                .beta1 = 0.9f,
                                .beta2 = 0.95f,
                                .epsilon = 1e-8f,
                                .step_size = 0.01f,
                                .root_scale = 1.5f};
  std::vector<at::Tensor> host = {random_floats(1), random_floats(2), random_floats(3),
                                  random_floats(4).abs()};
  std::vector<at::Tensor> device;
  for (const at::Tensor& tensor : host) device.push_back(one_.ops.from_host(tensor));
  const at::Tensor copied = one_.ops.zeros({kCount}, copy);
  const auto pieces = [&](const std::vector<at::Tensor>& of, void* to) {
    std::vector<AdamWPiece> pieces;
    for (const int64_t begin : {int64_t{0}, int64_t{1024}})
      pieces.push_back({.gradient = of[0].data_ptr<float>() + begin,
                        .master = of[1].data_ptr<float>() + begin,
                        .exp_avg = of[2].data_ptr<float>() + begin,
                        .exp_avg_sq = of[3].data_ptr<float>() + begin,
                        .copy = to ? static_cast<std::byte*>(to) + 2 * begin : nullptr,
                        .count = 1000,
                        .decay = begin == 0 ? 0.25 : 0.0});
    return pieces;
  };
  void* const to = copy == at::kFloat ? nullptr : copied.mutable_data_ptr();
  EXPECT_FALSE(cpu_ops().adamw(pieces(host, to), factors, copy));
  EXPECT_EQ(one_.ops.adamw(pieces(device, to), factors, copy), copy != at::kFloat);
  for (size_t i = 0; i < host.size(); ++i)
    EXPECT_LT(relative_difference(one_.ops.to_host(device[i]), host[i]), 1e-6) << i;
  if (copy == at::kFloat) return;
  const at::Tensor rounded = one_.ops.to_host(device[1]).to(copy);
  for (const int64_t begin : {int64_t{0}, int64_t{1024}})
    EXPECT_TRUE(
        same_bits(one_.ops.to_host(copied).narrow(0, begin, 1000), rounded.narrow(0, begin, 1000)));
  EXPECT_EQ(values_of(one_.ops.to_host(copied))[1010], 0);
}

INSTANTIATE_TEST_SUITE_P(Copies, GpuStepOps, testing::Values(at::kFloat, at::kHalf, at::kBFloat16));

class GpuFixedSums : public testing::Test {
 protected:
  /// What a step of three contributions comes to, of which the last has this value somewhere.
  FixedNorm step(Ops& ops, float odd) {
    const auto sums = ops.fixed_sums();
    FixedNorm norm;
    for (int round = 0; round < 2; ++round) {  // the second forgets the first
      sums->begin_step();
      const at::Tensor accumulator = ops.zeros({kCount}, at::kLong);
      for (uint64_t i = 0; i < 3; ++i) {
        const at::Tensor values = random_floats(i);
        if (i == 2) values.mutable_data_ptr<float>()[77] = odd;
        sums->accumulate(ops.from_host(values), accumulator, 4);
      }
      const at::Tensor gradient = ops.zeros({kCount}, at::kFloat);
      ops.fixed_to_float(accumulator, gradient);
      sums->add_squares(gradient);
      gradient_ = ops.to_host(gradient);
      norm = sums->take();
    }
    return norm;
  }

  const at::AutoDispatchBelowADInplaceOrView no_autograd_;
  OneGpu one_{4};
  at::Tensor gradient_;
};

TEST_F(GpuFixedSums, AreTheCpusToTheBit) {
  for (const float odd : {1.0f, 1e30f, std::numeric_limits<float>::quiet_NaN()}) {
    const FixedNorm want = step(cpu_ops(), odd);
    const at::Tensor gradient = gradient_;
    const FixedNorm got = step(one_.ops, odd);
    EXPECT_EQ(got.poison, want.poison);
    EXPECT_EQ(got.poison, odd == 1.0f ? 0 : 1);
    EXPECT_TRUE(same_bits(gradient_, gradient));
    EXPECT_NEAR(got.root(), want.root(), 1e-12 * want.root());
  }
}

TEST_F(GpuFixedSums, WhatIsNotFiniteIsFound) {
  for (const float odd :
       {1.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    const at::Tensor values = random_floats(1);
    values.mutable_data_ptr<float>()[kCount - 1] = odd;
    EXPECT_EQ(one_.ops.all_finite(one_.ops.from_host(values)), odd == 1.0f);
    EXPECT_EQ(cpu_ops().all_finite(values), odd == 1.0f);
  }
}

TEST_F(GpuFixedSums, ScalesInPlace) {
  const at::Tensor values = random_floats(1), scaled = one_.ops.from_host(values);
  one_.ops.scale(scaled, 0.25);
  EXPECT_TRUE(same_bits(one_.ops.to_host(scaled), values.mul(0.25)));
}

}  // namespace
}  // namespace kente
