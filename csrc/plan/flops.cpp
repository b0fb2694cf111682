#include "csrc/plan/flops.h"

namespace kente {

std::vector<double> forward_flops_per_token(const ModelConfig& model, int64_t sequence_length) {
  const auto d = static_cast<double>(model.hidden_size);
  const auto f = static_cast<double>(model.intermediate_size);
  const auto vocabulary = static_cast<double>(model.vocab_size);
  const auto q = static_cast<double>(model.num_attention_heads * model.head_dim());
  const auto kv = static_cast<double>(model.num_key_value_heads * model.head_dim());
  const double mlp_matrices = model.family == ModelFamily::kGpt2 ? 2 : 3;
  const double matrices = (q + 2 * kv) * d + q * d + mlp_matrices * d * f;
  const double block = 2 * matrices + 2 * static_cast<double>(sequence_length) * q;

  std::vector<double> flops(static_cast<size_t>(model.num_layers()), block);
  flops.front() = 2 * d;
  flops.back() = 2 * d * vocabulary + 8 * vocabulary;
  return flops;
}

}  // namespace kente
