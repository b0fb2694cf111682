#include "csrc/config/model_layout.h"

#include <functional>
#include <numeric>
#include <utility>

#include "csrc/base/round_up.h"

namespace kente {
namespace {

/// Appends parameters to one group, at block borders.
class GroupBuilder {
 public:
  GroupBuilder(int index, std::vector<int> layers) {
    group_.index = index;
    group_.layers = std::move(layers);
  }

  void matrix(const std::string& name, int64_t rows, int64_t columns, InitKind init) {
    add(name, {rows, columns}, init, true);
  }
  void vector(const std::string& name, int64_t size, InitKind init) {
    add(name, {size}, init, false);
  }
  /// weight [out, in], and a zero bias [out] if has_bias.
  void linear(const std::string& name, int64_t out, int64_t in, InitKind init, bool has_bias) {
    matrix(name + ".weight", out, in, init);
    if (has_bias) vector(name + ".bias", out, InitKind::kZeros);
  }
  void norm(const std::string& name, int64_t size, bool has_bias) {
    vector(name + ".weight", size, InitKind::kOnes);
    if (has_bias) vector(name + ".bias", size, InitKind::kZeros);
  }
  ParamGroup take() { return std::move(group_); }

 private:
  void add(const std::string& name, std::vector<int64_t> shape, InitKind init, bool decay) {
    ParamSpec spec;
    spec.name = name;
    spec.count =
        std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<int64_t>());
    spec.shape = std::move(shape);
    spec.init = init;
    spec.decay = decay;
    spec.offset = group_.size;
    spec.init_stream = int64_t{group_.index} * 64 + static_cast<int64_t>(group_.params.size());
    group_.size += round_up(spec.count, kBlockElements);
    group_.params.push_back(std::move(spec));
  }

  ParamGroup group_;
};

ParamGroup block_group(const ModelConfig& model, int layer) {
  const bool gpt2 = model.family == ModelFamily::kGpt2;
  const int64_t d = model.hidden_size;
  const int64_t f = model.intermediate_size;
  const int64_t q_rows = model.num_attention_heads * model.head_dim();
  const int64_t kv_rows = model.num_key_value_heads * model.head_dim();
  const std::string prefix = "layers." + std::to_string(layer - 1) + ".";
  GroupBuilder group(layer, {layer});
  group.norm(prefix + "norm1", d, gpt2);
  group.linear(prefix + "attn.qkv", q_rows + 2 * kv_rows, d, InitKind::kNormal,
               gpt2 || model.family == ModelFamily::kQwen2);
  group.linear(prefix + "attn.out", d, q_rows, InitKind::kResidual, gpt2);
  group.norm(prefix + "norm2", d, gpt2);
  if (gpt2) {
    group.linear(prefix + "mlp.up", f, d, InitKind::kNormal, true);
  } else {
    group.linear(prefix + "mlp.gate_up", 2 * f, d, InitKind::kNormal, false);
  }
  group.linear(prefix + "mlp.down", d, f, InitKind::kResidual, gpt2);
  return group.take();
}

}  // namespace

std::vector<ParamGroup> model_layout(const ModelConfig& model) {
  const bool gpt2 = model.family == ModelFamily::kGpt2;
  const bool tied = model.tie_word_embeddings;
  const int64_t d = model.hidden_size;
  const int head = model.num_layers() - 1;
  std::vector<ParamGroup> groups;

  GroupBuilder embedding(0, {0});
  if (!tied) embedding.matrix("embed.tokens.weight", model.vocab_size, d, InitKind::kNormal);
  if (gpt2)
    embedding.matrix("embed.positions.weight", model.max_position_embeddings, d, InitKind::kNormal);
  groups.push_back(embedding.take());

  for (int layer = 1; layer < head; ++layer) groups.push_back(block_group(model, layer));

  GroupBuilder last(head, {head});
  last.norm("head.norm", d, gpt2);
  if (!tied) last.matrix("head.weight", model.vocab_size, d, InitKind::kNormal);
  groups.push_back(last.take());

  if (tied) {
    GroupBuilder shared(head + 1, {0, head});
    shared.matrix("embed.tokens.weight", model.vocab_size, d, InitKind::kNormal);
    groups.push_back(shared.take());
  }
  return groups;
}

int64_t parameter_count(const ModelConfig& model) {
  int64_t count = 0;
  for (const ParamGroup& group : model_layout(model))
    for (const ParamSpec& spec : group.params) count += spec.count;
  return count;
}

}  // namespace kente
