// A chunk on a pretended GPU beside the same chunk on the CPU.
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "csrc/base/errors.h"
#include "csrc/nn/chunk.h"
#include "csrc/nn/ops/element_type.h"
#include "csrc/nn/ops/gpu_ops.h"
#include "tests/nn/one_gpu.h"
#include "tests/nn/tiny_model.h"

namespace kente {
namespace {

using testing::HasSubstr;

constexpr int64_t kLength = 9;

/// Sizes that the kernels take: widths of 8, heads of 16.
ModelConfig gpu_model(ModelFamily family, bool tied) {
  ModelConfig model = tiny_model(family, tied);
  model.vocab_size = 83;
  model.hidden_size = 64;
  model.intermediate_size = 40;
  return model;
}

class OpsSink : public GradSink {
 public:
  explicit OpsSink(const Parameters& parameters) : ops_(parameters.ops()) {
    for (const int group : parameters.groups())
      gradients_[group] =
          ops_.zeros({parameters.layout(group).size}, parameters.master(group).scalar_type());
  }
  at::Tensor open(int group) override { return gradients_.at(group); }
  void close(int) override {}
  at::Tensor gradient(int group) const { return ops_.to_host(gradients_.at(group)); }

 private:
  Ops& ops_;
  std::map<int, at::Tensor> gradients_;
};

struct Case {
  ModelFamily family;
  bool tied;
  DType compute;
  int compute_capability;
  Recompute recompute;
};

std::string name_of_case(const testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  const char* family = c.family == ModelFamily::kGpt2    ? "Gpt2"
                       : c.family == ModelFamily::kLlama ? "Llama"
                                                         : "Qwen2";
  return std::string(family) + (c.tied ? "Tied" : "") + "_" + std::string(name_of(c.compute)) +
         "_sm" + std::to_string(c.compute_capability) +
         (c.recompute == Recompute::kFull ? "_Recomputed" : "");
}

at::Tensor tensor_of(const std::vector<double>& values) {
  at::Tensor tensor =
      at::zeros({static_cast<int64_t>(values.size())}, at::TensorOptions().dtype(at::kDouble));
  std::copy(values.begin(), values.end(), tensor.mutable_data_ptr<double>());
  return tensor;
}

class GpuChunk : public testing::TestWithParam<Case> {
 protected:
  GpuChunk() { at::set_num_threads(1); }

  ChunkOptions options(DType compute) const {
    ChunkOptions options;
    options.compute = compute;
    options.recompute = GetParam().recompute;
    options.stop_at_documents = true;
    options.loss_seed = 0x1p-5;
    return options;
  }
  int head() const { return model_.num_layers() - 1; }

  double rounding() const {
    switch (GetParam().compute) {
      case DType::kF32:
        return 2e-5;
      case DType::kF16:
        return 0x1p-11;
      default:
        return 0x1p-8;
    }
  }

  struct Result {
    std::vector<LossSums> losses;
    std::map<int, at::Tensor> gradients;
    at::Tensor border;  // what the first of two chunks hands on
  };
  /// Two micro-batches through two chunks, the second begun before the first is done. The losses
  /// are asked for at the end.
  Result train(Ops& ops, DType compute) {
    const at::AutoDispatchBelowADInplaceOrView no_autograd;
    std::vector<int> front = {0, 1}, back;
    for (int layer = 2; layer <= head(); ++layer) back.push_back(layer);
    Parameters first_parameters(model_, front, compute, ops),
        last_parameters(model_, back, compute, ops);
    fill(first_parameters);
    fill(last_parameters);
    Chunk first(model_, {0, 1}, options(compute), first_parameters);
    Chunk last(model_, {2, head()}, options(compute), last_parameters);
    OpsSink first_sink(first_parameters), last_sink(last_parameters);
    std::vector<PendingLoss> pending;
    Result result;
    for (int m = 0; m < 2; ++m) {
      const at::Tensor border = first.forward(m, batches_[static_cast<size_t>(m)], {});
      if (m == 0) result.border = ops.to_host(border);
      last.forward(m, batches_[static_cast<size_t>(m)], border);
      pending.push_back(last.loss(m));
    }
    for (int m = 0; m < 2; ++m) {
      first.backward_input(m, last.backward_input(m, {}));
      last.backward_weight(m, last_sink);
      first.backward_weight(m, first_sink);
    }
    for (PendingLoss& loss : pending) result.losses.push_back(loss.take());
    EXPECT_EQ(first.saved_bytes() + last.saved_bytes(), 0);
    for (const int group : first_parameters.groups())
      result.gradients[group] = first_sink.gradient(group);
    for (const int group : last_parameters.groups()) {
      const at::Tensor gradient = last_sink.gradient(group);
      at::Tensor& sum = result.gradients[group];  // of a tied embedding both chunks have a part
      sum = sum.defined() ? sum.add(gradient) : gradient;
    }
    return result;
  }
  /// The same numbers wherever they lie.
  void fill(Parameters& parameters) const {
    Parameters host(model_, all_layers(model_), DType::kF32);
    randomize(host);
    for (const int group : parameters.groups()) {
      Ops& ops = parameters.ops();
      ops.cast(ops.from_host(host.master(group)), parameters.master(group));
      parameters.refresh(group);
    }
  }

  const ModelConfig model_ = gpu_model(GetParam().family, GetParam().tied);
  const std::vector<MicroBatch> batches_ = {tiny_batch(model_, 2, kLength, true),
                                            tiny_batch(model_, 1, kLength, true)};
};

/// Root of the mean square of a - b, over that of b. Of all errors, not the largest alone: that one
/// is an accident of which roundings coincide.
double rms_difference(const at::Tensor& a, const at::Tensor& b) {
  const std::vector<double> x = values_of(a), y = values_of(b);
  double off = 0, size = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    off += (x[i] - y[i]) * (x[i] - y[i]);
    size += y[i] * y[i];
  }
  return std::sqrt(size == 0 ? off : off / size);
}

// In f32 up to the order of sums; in 16 bits about as far from f32 as the CPU is in the same type,
// and one rounding more, that of the logits.
TEST_P(GpuChunk, ComputesWhatTheCpuDoes) {
  const Result want = train(cpu_ops(), DType::kF32);
  const Result same_type = train(cpu_ops(), GetParam().compute);
  for (const uint64_t seed : {1, 2}) {
    SCOPED_TRACE(seed);
    OneGpu one(seed, GetParam().compute_capability);
    const Result got = train(one.ops, GetParam().compute);
    const auto expect_near = [&](const at::Tensor& is, const at::Tensor& cpu,
                                 const at::Tensor& exact, const std::string& what) {
      EXPECT_LT(rms_difference(is, exact), rounding() + 1.5 * rms_difference(cpu, exact)) << what;
    };
    expect_near(got.border, same_type.border, want.border, "the activation between the chunks");
    ASSERT_EQ(got.losses.size(), want.losses.size());
    for (size_t m = 0; m < want.losses.size(); ++m) {
      EXPECT_EQ(got.losses[m].tokens, want.losses[m].tokens);
      expect_near(tensor_of(got.losses[m].nats), tensor_of(same_type.losses[m].nats),
                  tensor_of(want.losses[m].nats), "losses");
    }
    for (const auto& [group, gradient] : want.gradients)
      expect_near(got.gradients.at(group), same_type.gradients.at(group), gradient,
                  "gradients of group " + std::to_string(group));
    EXPECT_EQ(one.gpu().complaint(), "");
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, GpuChunk,
    testing::Values(Case{ModelFamily::kGpt2, true, DType::kF32, 90, Recompute::kNone},
                    Case{ModelFamily::kGpt2, false, DType::kBF16, 90, Recompute::kNone},
                    Case{ModelFamily::kGpt2, true, DType::kF16, 75, Recompute::kNone},
                    Case{ModelFamily::kLlama, false, DType::kF32, 90, Recompute::kFull},
                    Case{ModelFamily::kLlama, true, DType::kF16, 80, Recompute::kNone},
                    Case{ModelFamily::kLlama, false, DType::kF16, 75, Recompute::kNone},
                    Case{ModelFamily::kQwen2, true, DType::kBF16, 120, Recompute::kFull},
                    Case{ModelFamily::kQwen2, false, DType::kF32, 80, Recompute::kNone}),
    name_of_case);

class GpuOpsTest : public testing::Test {
 protected:
  const at::AutoDispatchBelowADInplaceOrView no_autograd_;
};

TEST_F(GpuOpsTest, NumbersWaitInPinnedMemoryUntilTheyAreCopied) {
  for (uint64_t seed = 0; seed < 12; ++seed) {
    OneGpu one(seed);
    std::vector<at::Tensor> sent, on_device;
    for (uint64_t i = 0; i < 20; ++i) {
      sent.push_back(random_tensor({100}, i).to(at::kFloat));
      on_device.push_back(one.ops.from_host(sent.back()));
    }
    for (size_t i = 0; i < sent.size(); ++i)
      EXPECT_TRUE(same_bits(one.ops.to_host(on_device[i]), sent[i])) << seed << " " << i;
  }
}

TEST_F(GpuOpsTest, RoundsAndAdds) {
  OneGpu one(1);
  const at::Tensor x = random_tensor({1024}, 1).to(at::kFloat);
  const at::Tensor y = random_tensor({1024}, 2).to(at::kFloat);
  const at::Tensor on_device = one.ops.from_host(x);
  const at::Tensor rounded = one.ops.empty({1024}, at::kBFloat16);
  one.ops.cast(on_device, rounded);
  EXPECT_TRUE(same_bits(one.ops.to_host(rounded), x.to(at::kBFloat16)));
  one.ops.add(one.ops.from_host(y), on_device);
  EXPECT_TRUE(same_bits(one.ops.to_host(on_device), x.add(y)));
  EXPECT_TRUE(
      same_bits(one.ops.to_host(one.ops.zeros({1024}, at::kFloat)), at::zeros({1024}, at::kFloat)));
}

TEST_F(GpuOpsTest, LossesNobodyAsksForDoNotHurt) {
  for (uint64_t seed = 0; seed < 3; ++seed) {
    OneGpu one(seed);
    const ModelConfig model = gpu_model(ModelFamily::kGpt2, true);
    const MicroBatch batch = tiny_batch(model, 1, kLength, false);
    for (int i = 0; i < 3; ++i) {
      const auto on_device = one.ops.upload(batch);
      const at::Tensor logits = one.ops.logits_buffer(kLength, 83, at::kFloat);
      one.ops.cross_entropy(logits, *on_device, 1.0);
    }
    one.ops.to_host(one.ops.zeros({4}, at::kFloat));
    EXPECT_EQ(one.gpu().complaint(), "");
  }
}

TEST_F(GpuOpsTest, SaysWhatItDoesNotTake) {
  OneGpu one(1);
  const auto refused = [&](const auto& call) -> std::string {
    try {
      call();
    } catch (const InternalError& error) {
      return error.what();
    }
    return "";
  };
  const at::Tensor narrow = one.ops.zeros({4, 12}, at::kFloat);
  const at::Tensor w = one.ops.zeros({12}, at::kFloat);
  EXPECT_THAT(refused([&] { one.ops.norm(narrow, w, {}, 1e-5); }), HasSubstr("norm"));
  EXPECT_THAT(refused([&] { one.ops.gelu(narrow); }), HasSubstr("gelu"));
  const ModelConfig model = gpu_model(ModelFamily::kGpt2, true);
  MicroBatch batch = tiny_batch(model, 1, kLength, false);
  batch.plane(MicroBatch::kTokens)[3] = 83;
  const at::Tensor table = one.ops.zeros({83, 64}, at::kFloat);
  const auto on_device = one.ops.upload(batch);
  EXPECT_THAT(refused([&] { one.ops.embedding(table, {}, *on_device); }),
              HasSubstr(".. 83 in an embedding of 83 rows"));
  batch = tiny_batch(model, 1, kLength, false);
  batch.plane(MicroBatch::kTargets)[2] = -1;
  EXPECT_THAT(refused([&] {
                one.ops.cross_entropy(one.ops.logits_buffer(kLength, 83, at::kFloat),
                                      *one.ops.upload(batch), std::nullopt);
              }),
              HasSubstr("target -1 of 83"));
  EXPECT_THAT(refused([&] {
                one.ops.add_column_sums(narrow.view({12, 4}), w);
              }),
              HasSubstr("column_sum"));
  EXPECT_THAT(refused([&] {
                one.ops.linear(narrow, one.ops.zeros({8, 16}, at::kFloat), {}, {});
              }),
              HasSubstr("12 columns times 16 rows"));
}

TEST_F(GpuOpsTest, AFailedDeviceIsTold) {
  OneGpu one(1);
  one.gpu().fail_at(one.gpu().done(), cudaErrorECCUncorrectable);
  const auto work = [&] {
    const at::Tensor x = one.ops.zeros({4, 16}, at::kFloat);
    one.ops.gelu(x);
    one.ops.to_host(x);
  };
  EXPECT_THROW(work(), DeviceError);
}

}  // namespace
}  // namespace kente
