// What leaves a pretended GPU while it goes on, and when it got where.
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include "csrc/base/clock.h"
#include "csrc/nn/ops/gpu_ops.h"
#include "tests/nn/one_gpu.h"

namespace kente {
namespace {

constexpr int64_t kElements = 64;

class GpuCopies : public testing::TestWithParam<uint64_t> {
 protected:
  /// An update by which every weight becomes smaller by step_size.
  void update(const at::Tensor& weights, float step_size) {
    one_.ops.clear(moments_);
    const AdamWPiece piece = {.gradient = ones_.const_data_ptr<float>(),
                              .master = weights.mutable_data_ptr<float>(),
                              .exp_avg = moments_.mutable_data_ptr<float>(),
                              .exp_avg_sq = moments_.mutable_data_ptr<float>() + kElements,
                              .copy = nullptr,
                              .count = kElements,
                              .decay = 0};
    one_.ops.adamw({piece},
                   {.gradient = 1,
                    .beta1 = 0,
                    .beta2 = 0,
                    .epsilon = 0,
                    .step_size = step_size,
                    .root_scale = 1},
                   at::kFloat);
  }
  at::Tensor filled(float value) {
    at::Tensor host = at::empty({kElements}, at::kFloat);
    std::fill_n(host.mutable_data_ptr<float>(), kElements, value);
    return one_.ops.from_host(host);
  }
  static float first(HostCopies& copies, size_t tensor) {
    return static_cast<const float*>(copies.data(tensor))[0];
  }

  const at::AutoDispatchBelowADInplaceOrView no_autograd_;
  OneGpu one_{GetParam()};
  const at::Tensor ones_ = filled(1);
  const at::Tensor moments_ = one_.ops.zeros({2 * kElements}, at::kFloat);
};

// The next update is queued at once: it must not overtake the copy, nor the copy the last one.
TEST_P(GpuCopies, HoldWhatWasThereBetweenTwoUpdates) {
  const at::Tensor weights = filled(100), empty = one_.ops.zeros({0}, at::kFloat);
  const auto copies = one_.ops.host_copies({empty, weights});
  EXPECT_FALSE(copies->same_memory());
  for (int step = 1; step <= 5; ++step) {
    update(weights, 1);
    copies->fetch();
    update(weights, 0.25f);
    copies->wait();
    EXPECT_TRUE(copies->arrived());
    EXPECT_EQ(first(*copies, 1), 100 - 1.25f * static_cast<float>(step) + 0.25f);
  }
  EXPECT_EQ(one_.gpu().complaint(), "");
}

TEST_P(GpuCopies, WhatTheHostSendsIsThereForWhatComesNext) {
  const at::Tensor weights = filled(1), others = filled(2);
  const auto copies = one_.ops.host_copies({weights, others});
  copies->fetch();
  copies->wait();
  std::fill_n(static_cast<float*>(copies->data(1)), kElements, 7.0f);
  copies->send(1);
  std::fill_n(static_cast<float*>(copies->data(1)), kElements, 9.0f);  // too late for it
  update(others, 1);
  EXPECT_EQ(one_.ops.to_host(others).const_data_ptr<float>()[0], 6);
  EXPECT_EQ(one_.ops.to_host(weights).const_data_ptr<float>()[0], 1);
}

TEST_P(GpuCopies, MarksOfAClockLieWhereTheWorkWasDone) {
  const at::Tensor weights = filled(1);
  const auto clock = one_.ops.work_clock();
  std::vector<int64_t> times;
  clock->take(times);
  EXPECT_TRUE(times.empty());
  for (int round = 0; round < 3; ++round) {
    times.clear();
    const int64_t before = now_ns();
    clock->mark();
    update(weights, 1);
    clock->mark();
    one_.ops.to_host(weights);
    const int64_t between = now_ns();
    update(weights, 1);
    clock->mark();
    clock->take(times);
    const int64_t after = now_ns();
    EXPECT_TRUE(clock->passed());
    ASSERT_EQ(times.size(), 3u);
    // Events are read in milliseconds of a float, and the origin is found out within microseconds.
    constexpr int64_t kNear = 200'000;
    EXPECT_GT(times[0], before - kNear);
    EXPECT_LE(times[0], times[1]);
    EXPECT_LT(times[1], between + kNear);
    EXPECT_GT(times[2], between - kNear);
    EXPECT_LT(times[2], after + kNear);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, GpuCopies, testing::Range(uint64_t{1}, uint64_t{13}));

}  // namespace
}  // namespace kente
