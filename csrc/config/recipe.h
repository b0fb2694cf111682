#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/base/dtype.h"

namespace kente {

enum class ModelFamily { kGpt2, kLlama, kQwen2 };

/// The model; fields are named as in Hugging Face's config.json.
struct ModelConfig {
  ModelFamily family = ModelFamily::kGpt2;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;        // D
  int64_t intermediate_size = 0;  // F
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;      // H
  int64_t num_key_value_heads = 0;      // K
  int64_t max_position_embeddings = 0;  // the longest sample
  double norm_epsilon = 0;              // layer_norm_epsilon or rms_norm_eps
  double rope_theta = 0;                // llama and qwen2; 0 for gpt2
  bool tie_word_embeddings = true;
  double initializer_range = 0;

  int64_t head_dim() const { return hidden_size / num_attention_heads; }
  /// Layer 0 is the embedding, 1 .. num_hidden_layers the blocks, the last one the head
  /// (final norm, LM head, loss).
  int num_layers() const { return static_cast<int>(num_hidden_layers) + 2; }

  bool operator==(const ModelConfig&) const = default;
};

/// One data source: token files found by id in --data, accepted by digest.
struct SourceConfig {
  std::string id;
  std::string
      digest;  // of its manifest, see csrc/data/manifest.h; empty: whatever the manifest says
  double weight = 1;  // relative share of samples

  bool operator==(const SourceConfig&) const = default;
};

struct DataConfig {
  std::vector<SourceConfig> sources;
  std::string tokenizer_digest;    // SHA-256 of tokenizer.json; empty: any
  bool stop_at_documents = false;  // attention and positions stop at document borders

  bool operator==(const DataConfig&) const = default;
};

/// AdamW with decoupled weight decay; vectors (norms and biases) do not decay.
struct OptimizerConfig {
  double learning_rate = 0;  // peak
  double beta1 = 0, beta2 = 0, epsilon = 0, weight_decay = 0;
  double clip_norm = 0;  // global norm; 0: no clipping

  bool operator==(const OptimizerConfig&) const = default;
};

enum class LrSchedule { kConstant, kCosine, kLinear, kWsd };

/// Linear warm-up from 0 over warmup_steps, then the schedule down to min_ratio of the peak at the
/// last step. kWsd holds the peak and falls linearly over the last decay_steps.
struct LrConfig {
  LrSchedule kind = LrSchedule::kCosine;
  int64_t warmup_steps = 0;
  int64_t decay_steps = 0;
  double min_ratio = 0;

  bool operator==(const LrConfig&) const = default;
};

enum class Reduction { kFast, kExact };

struct NumericsConfig {
  DType compute = DType::kF32;   // kF32, kBF16 or kF16: GEMM inputs and activations
  DType boundary = DType::kF32;  // kF32 or kBF16: what travels between stages
  Reduction reduction = Reduction::kFast;
  std::vector<DType> substitutes;  // a plan may compute a stage in these instead

  /// compute, then its substitutes.
  std::vector<DType> allowed() const {
    std::vector<DType> all = {compute};
    for (const DType substitute : substitutes) all.push_back(substitute);
    return all;
  }
  bool operator==(const NumericsConfig&) const = default;
};

struct ValidationConfig {
  int64_t every_steps = 0;         // 0: never
  int64_t samples_per_source = 0;  // at most; fewer where the held-back text is shorter

  bool operator==(const ValidationConfig&) const = default;
};

/// What to do when training goes wrong: see csrc/train/loss_guard.h.
struct GuardConfig {
  int64_t max_skips = 3;  // steps in a row without a finite gradient
  int64_t window_steps =
      256;                  // a step is compared with so many before it; 0: no guard against spikes
  double spike_factor = 8;  // median absolute deviations
  double norm_factor = 10;  // medians
  int64_t spike_steps = 3;  // in a row
  int64_t rollback_steps = 100;
  int64_t max_rollbacks = 2;  // in 1,000 steps

  bool operator==(const GuardConfig&) const = default;
};

/// Everything that changes the training, resolved and validated; names no hardware. Immutable.
struct Recipe {
  std::string name;
  std::string description;
  ModelConfig model;
  DataConfig data;
  OptimizerConfig optimizer;
  LrConfig lr;
  NumericsConfig numerics;
  ValidationConfig validation;
  GuardConfig guards;
  int64_t steps = 0;
  int64_t sequence_length = 0;      // T
  int64_t global_batch_tokens = 0;  // a multiple of sequence_length * grain_samples
  int64_t grain_samples = 1;        // samples per forward: the atom of work
  uint64_t seed = 0;

  int64_t grains_per_step() const {
    return global_batch_tokens / (sequence_length * grain_samples);
  }
  int64_t samples_per_step() const { return global_batch_tokens / sequence_length; }

  bool operator==(const Recipe&) const = default;
};

}  // namespace kente
