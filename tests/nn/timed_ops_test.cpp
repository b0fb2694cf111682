#include "csrc/nn/ops/timed_ops.h"

#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/base/clock.h"
#include "tests/nn/tiny_model.h"

namespace kente {
namespace {

at::Tensor matrix(int64_t rows, int64_t columns, at::ScalarType type = at::kFloat) {
  return at::zeros({rows, columns}, at::TensorOptions().dtype(type));
}

TEST(TimedOps, CountWhatProductsMustDo) {
  TimedOps ops(cpu_ops());
  const at::Tensor x = matrix(5, 6), w = matrix(7, 6), dy = matrix(5, 7), grad = matrix(7, 6);
  ops.linear(x, w, {}, {});
  ops.linear(x, w, {}, matrix(5, 7));
  ops.linear_backward_input(dy, w);
  ops.linear_backward_weight(dy, x, grad);
  const std::map<std::string_view, OpTotals> totals = ops.take();
  const OpTotals& forward = totals.at("linear");
  EXPECT_EQ(forward.calls, 2);
  EXPECT_EQ(forward.flops, 2 * 2 * 5 * 6 * 7);
  EXPECT_EQ(forward.bytes, 4 * (2 * (5 * 6 + 7 * 6 + 5 * 7) + 5 * 7));
  EXPECT_GT(forward.seconds, 0);
  EXPECT_EQ(totals.at("linear, input's gradient").flops, 2 * 5 * 6 * 7);
  EXPECT_EQ(totals.at("linear, input's gradient").bytes, 4 * (5 * 7 + 7 * 6 + 5 * 6));
  EXPECT_EQ(totals.at("linear, weight's gradient").flops, 2 * 5 * 6 * 7);
  EXPECT_EQ(totals.at("linear, weight's gradient").bytes, 4 * (5 * 7 + 5 * 6 + 2 * 7 * 6));
  EXPECT_TRUE(ops.take().empty());
}

TEST(TimedOps, CountBytesInTheTypeTheyAreOf) {
  TimedOps ops(cpu_ops());
  const at::Tensor x = matrix(4, 8, at::kBFloat16);
  ops.gelu(x);
  ops.swiglu(x);
  ops.gelu_backward(x, matrix(4, 8, at::kBFloat16));
  const std::map<std::string_view, OpTotals> totals = ops.take();
  EXPECT_EQ(totals.at("activation").bytes, 2 * (2 * 32 + 1.5 * 32));
  EXPECT_EQ(totals.at("activation").flops, 0);
  EXPECT_EQ(totals.at("activation, gradient").bytes, 2 * 3 * 32);
}

TEST(TimedOps, AdamWMovesTwentyEightBytesAParameter) {
  TimedOps ops(cpu_ops());
  std::vector<float> values(4 * 10);
  float* const at = values.data();
  ops.adamw({{.gradient = at,
              .master = at + 10,
              .exp_avg = at + 20,
              .exp_avg_sq = at + 30,
              .copy = nullptr,
              .count = 10,
              .decay = 0}},
            {.epsilon = 1}, at::kFloat);
  EXPECT_EQ(ops.take().at("AdamW").bytes, 280);
}

/// What all layers of a model leave of a micro-batch.
struct Passed {
  std::map<int, at::Tensor> gradients;
  std::vector<double> nats;
};

Passed pass(ModelFamily family, Ops& ops) {
  const ModelConfig model = tiny_model(family, true);
  Parameters parameters(model, all_layers(model), DType::kF32, ops);
  randomize(parameters);
  ChunkOptions options;
  options.compute = DType::kF32;
  Chunk chunk(model, {.first = 0, .last = model.num_layers() - 1}, options, parameters);
  const MicroBatch batch = tiny_batch(model, 2, 9, false);
  chunk.forward(0, batch, {});
  Passed passed;
  passed.nats = chunk.loss(0).take().nats;
  chunk.backward_input(0, {});
  MapSink sink(parameters);
  chunk.backward_weight(0, sink);
  passed.gradients = sink.gradients;
  return passed;
}

TEST(TimedOps, LeaveTheBitsAndTakeLessTimeThanThereWas) {
  for (const ModelFamily family : {ModelFamily::kGpt2, ModelFamily::kLlama, ModelFamily::kQwen2}) {
    TimedOps ops(cpu_ops());
    const int64_t begin = now_ns();
    const Passed timed = pass(family, ops);
    const double whole = seconds_since(begin);
    const Passed plain = pass(family, cpu_ops());
    EXPECT_EQ(timed.nats, plain.nats);
    ASSERT_EQ(timed.gradients.size(), plain.gradients.size());
    for (const auto& [group, gradient] : timed.gradients)
      EXPECT_TRUE(same_bits(gradient, plain.gradients.at(group))) << group;
    double sum = 0;
    for (const auto& [name, totals] : ops.take()) {
      EXPECT_GT(totals.calls, 0) << name;
      sum += totals.seconds;
    }
    EXPECT_GT(sum, 0);
    EXPECT_LT(sum, whole);
  }
}

}  // namespace
}  // namespace kente
