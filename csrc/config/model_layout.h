#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/config/recipe.h"

namespace kente {

/// Flat buffers are padded to blocks of so many elements: norms are summed per block, and buckets
/// and shards are cut only between blocks, so that no sum depends on the plan.
inline constexpr int64_t kBlockElements = 1024;

enum class InitKind {
  kNormal,    // N(0, initializer_range)
  kResidual,  // gpt2: N(0, initializer_range / sqrt(2 num_hidden_layers)); others: as kNormal
  kZeros,
  kOnes
};

struct ParamSpec {
  std::string name;            // "layers.3.attn.qkv.weight"
  std::vector<int64_t> shape;  // linear weights are [out, in]
  InitKind init = InitKind::kNormal;
  bool decay = true;  // weight decay applies (matrices only)
  int64_t offset =
      0;  // elements from the start of the group's flat buffer; a multiple of kBlockElements
  int64_t count = 0;  // elements
  int64_t init_stream =
      0;  // stream of random_normal(seed, RngUse::kInit, init_stream, element): unique
};

/// Parameters that live in one flat buffer and are reduced and updated together.
/// Group g < num_layers holds what layer g alone owns. With tied embeddings one more group, the
/// last, holds "embed.tokens.weight", which layer 0 and the head both use.
struct ParamGroup {
  int index = 0;
  std::vector<int> layers;  // the layers that use it, ascending
  std::vector<ParamSpec> params;
  int64_t size = 0;  // elements of the flat buffer, a multiple of kBlockElements; may be 0
};

/// Every parameter of the model, by group. A pure function of the model.
///
/// Names (i = block - 1 = 0 ..):
///   embed.tokens.weight [V, D], embed.positions.weight [max_position_embeddings, D] (gpt2)
///   layers.i.norm1.weight [D] (.bias gpt2)     layers.i.norm2.weight [D] (.bias gpt2)
///   layers.i.attn.qkv.weight [(H + 2K) head_dim, D]: rows of q, then k, then v (.bias gpt2, qwen2)
///   layers.i.attn.out.weight [D, H head_dim] (.bias gpt2)
///   layers.i.mlp.up.weight [F, D], .bias (gpt2)     layers.i.mlp.gate_up.weight [2F, D]: gate,
///   then up (llama, qwen2) layers.i.mlp.down.weight [D, F] (.bias gpt2) head.norm.weight [D]
///   (.bias gpt2)     head.weight [V, D] (untied only)
std::vector<ParamGroup> model_layout(const ModelConfig& model);

/// Parameters of the model, each counted once.
int64_t parameter_count(const ModelConfig& model);

}  // namespace kente
