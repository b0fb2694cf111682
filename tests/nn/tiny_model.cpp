#include "tests/nn/tiny_model.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "csrc/base/errors.h"
#include "csrc/base/rng.h"

namespace kente {

ModelConfig tiny_model(ModelFamily family, bool tied) {
  ModelConfig model;
  model.family = family;
  model.vocab_size = 37;
  model.hidden_size = 24;
  model.intermediate_size = 20;
  model.num_hidden_layers = 2;
  model.num_attention_heads = 4;
  model.num_key_value_heads = family == ModelFamily::kGpt2 ? 4 : 2;
  model.max_position_embeddings = 9;
  model.norm_epsilon = 1e-5;
  model.rope_theta = 100;
  model.tie_word_embeddings = tied;
  model.initializer_range = 0.02;
  return model;
}

MicroBatch tiny_batch(const ModelConfig& model, int64_t samples, int64_t length,
                      bool stop_at_documents) {
  MicroBatch batch = MicroBatch::zeros(samples, length);
  const auto vocabulary = static_cast<uint64_t>(model.vocab_size);
  for (int64_t row = 0; row < samples * length; ++row) {
    const auto draw = [&](uint64_t stream, uint64_t count) {
      return static_cast<int32_t>(
          random_bits(3, RngUse::kTest, stream, static_cast<uint64_t>(row)) % count);
    };
    const auto t = static_cast<int32_t>(row % length);
    // Document 1 is the single token 3.
    const int32_t start = t < 3 ? 0 : std::min(t, 4);
    batch.plane(MicroBatch::kTokens)[row] = draw(0, vocabulary);
    batch.plane(MicroBatch::kTargets)[row] = draw(1, vocabulary);
    batch.plane(MicroBatch::kLossMask)[row] = draw(2, 6) == 0 ? 0 : 1;
    batch.plane(MicroBatch::kDocuments)[row] = t < 3 ? 0 : std::min(t - 2, 2);
    batch.plane(MicroBatch::kPositions)[row] = stop_at_documents ? t - start : t;
  }
  return batch;
}

void randomize(Parameters& parameters) {
  for (const int group : parameters.groups()) {
    for (const ParamSpec& spec : parameters.layout(group).params) {
      const at::Tensor noise =
          random_tensor(spec.shape, static_cast<uint64_t>(spec.init_stream) + 1000);
      const double scale = spec.init == InitKind::kOnes || !spec.decay ? 0.2 : 0.3;
      at::Tensor to = parameters.master_view(spec.name);
      to.copy_(noise.mul(scale).add(spec.init == InitKind::kOnes ? 1.0 : 0.0));
    }
    parameters.refresh(group);
  }
}

std::vector<int> all_layers(const ModelConfig& model) {
  std::vector<int> layers(static_cast<size_t>(model.num_layers()));
  std::iota(layers.begin(), layers.end(), 0);
  return layers;
}

MapSink::MapSink(const Parameters& parameters) {
  for (const int group : parameters.groups())
    gradients[group] = at::zeros_like(parameters.master(group));
}

at::Tensor MapSink::open(int group) {
  ++opened[group];
  return gradients.at(group);
}

void MapSink::close(int group) {
  ++closed[group];
  order.push_back(group);
}

std::vector<double> values_of(const at::Tensor& tensor) {
  const at::Tensor wide = tensor.to(at::kDouble).contiguous();
  const double* data = wide.const_data_ptr<double>();
  return {data, data + wide.numel()};
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.sizes() == b.sizes() && a.scalar_type() == b.scalar_type() && a.is_contiguous() &&
         b.is_contiguous() &&
         (a.numel() == 0 || std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0);
}

double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  const std::vector<double> x = values_of(a);
  const std::vector<double> y = values_of(b);
  KENTE_CHECK(x.size() == y.size(), "sizes");
  double difference = 0;
  double largest = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference = std::max(difference, std::abs(x[i] - y[i]));
    largest = std::max(largest, std::abs(y[i]));
    if (std::isnan(x[i]) != std::isnan(y[i])) return INFINITY;
  }
  return largest == 0 ? difference : difference / largest;
}

at::Tensor random_tensor(const std::vector<int64_t>& sizes, uint64_t stream) {
  at::Tensor out = at::empty(sizes, at::TensorOptions().dtype(at::kDouble));
  double* data = out.mutable_data_ptr<double>();
  for (int64_t i = 0; i < out.numel(); ++i)
    data[i] = random_normal(7, RngUse::kTest, stream, static_cast<uint64_t>(i));
  return out;
}

}  // namespace kente
