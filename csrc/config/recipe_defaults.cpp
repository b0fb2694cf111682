#include <algorithm>

#include "csrc/config/recipe.h"
#include "csrc/config/recipe.pb.h"
#include "csrc/config/recipe_checks.h"

namespace kente {
namespace {

// Sets a field unless it is written.
#define KENTE_DEFAULT(message, field, value) \
  if (!(message).has_##field()) (message).set_##field(value)

// Those of Hugging Face's configuration classes, where they have one.
void fill_model(const proto::Recipe& recipe, proto::Model& model) {
  const bool gpt2 = model.model_type() == proto::Model::gpt2;
  // Clamped, because defaults come before limits: a wild hidden_size must not overflow here.
  constexpr int64_t kClamp = int64_t{1} << 40;
  if (gpt2)
    KENTE_DEFAULT(model, intermediate_size,
                  4 * std::clamp(model.hidden_size(), int64_t{0}, kClamp));
  KENTE_DEFAULT(model, num_key_value_heads, model.num_attention_heads());
  KENTE_DEFAULT(model, max_position_embeddings, recipe.sequence_length());
  if (gpt2) {
    KENTE_DEFAULT(model, layer_norm_epsilon, 1e-5);
  } else {
    KENTE_DEFAULT(model, rms_norm_eps, 1e-6);
    KENTE_DEFAULT(model, rope_theta, 10000);
  }
  KENTE_DEFAULT(model, tie_word_embeddings, gpt2);
  KENTE_DEFAULT(model, initializer_range, 0.02);
}

void fill_training(proto::Recipe& recipe) {
  proto::Optimizer& optimizer = *recipe.mutable_optimizer();
  KENTE_DEFAULT(optimizer, beta1, 0.9);
  KENTE_DEFAULT(optimizer, beta2, 0.95);
  KENTE_DEFAULT(optimizer, epsilon, 1e-8);
  KENTE_DEFAULT(optimizer, weight_decay, 0.1);
  KENTE_DEFAULT(optimizer, clip_norm, 1.0);

  proto::LearningRate& lr = *recipe.mutable_lr();
  KENTE_DEFAULT(lr, kind, proto::LearningRate::COSINE);
  KENTE_DEFAULT(lr, warmup_steps, 0);
  KENTE_DEFAULT(lr, decay_steps, 0);
  KENTE_DEFAULT(lr, min_ratio, 0.1);

  proto::Numerics& numerics = *recipe.mutable_numerics();
  KENTE_DEFAULT(numerics, compute, proto::F32);
  KENTE_DEFAULT(numerics, boundary,
                numerics.compute() == proto::F16 ? proto::F32 : numerics.compute());
  KENTE_DEFAULT(numerics, reduction, proto::Numerics::FAST);
}

void fill_guards(proto::Guards& guards) {
  const GuardConfig standard;
  KENTE_DEFAULT(guards, max_skips, standard.max_skips);
  KENTE_DEFAULT(guards, window_steps, standard.window_steps);
  KENTE_DEFAULT(guards, spike_factor, standard.spike_factor);
  KENTE_DEFAULT(guards, norm_factor, standard.norm_factor);
  KENTE_DEFAULT(guards, spike_steps, standard.spike_steps);
  KENTE_DEFAULT(guards, rollback_steps, standard.rollback_steps);
  KENTE_DEFAULT(guards, max_rollbacks, standard.max_rollbacks);
}

}  // namespace

void fill_defaults(proto::Recipe& recipe) {
  KENTE_DEFAULT(recipe, description, "");
  KENTE_DEFAULT(recipe, grain_samples, 1);
  KENTE_DEFAULT(recipe, seed, 1);
  fill_model(recipe, *recipe.mutable_model());
  proto::Data& data = *recipe.mutable_data();
  KENTE_DEFAULT(data, tokenizer_digest, "");
  KENTE_DEFAULT(data, stop_at_documents, false);
  for (proto::Source& source : *data.mutable_source()) {
    KENTE_DEFAULT(source, digest, "");
    KENTE_DEFAULT(source, weight, 1);
  }
  fill_training(recipe);
  proto::Validation& validation = *recipe.mutable_validation();
  KENTE_DEFAULT(validation, every_steps, 0);
  KENTE_DEFAULT(validation, samples_per_source, validation.every_steps() == 0 ? 0 : 64);
  fill_guards(*recipe.mutable_guards());
}

#undef KENTE_DEFAULT

}  // namespace kente
