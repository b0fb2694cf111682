#include "tests/support/small_recipes.h"

namespace kente {

Recipe small_recipe(ModelFamily family) {
  Recipe recipe;
  recipe.name = "small";
  ModelConfig& model = recipe.model;
  model.family = family;
  model.vocab_size = 96;
  model.hidden_size = 32;
  model.intermediate_size = family == ModelFamily::kGpt2 ? 128 : 88;
  model.num_hidden_layers = 4;
  model.num_attention_heads = 4;
  model.num_key_value_heads = family == ModelFamily::kGpt2 ? 4 : 2;
  model.max_position_embeddings = 16;
  model.norm_epsilon = family == ModelFamily::kGpt2 ? 1e-5 : 1e-6;
  model.rope_theta = family == ModelFamily::kGpt2 ? 0 : 10000;
  model.tie_word_embeddings = true;
  model.initializer_range = 0.02;
  recipe.data.sources = {{.id = "test", .digest = "", .weight = 1}};
  recipe.optimizer = {.learning_rate = 3e-3,
                      .beta1 = 0.9,
                      .beta2 = 0.95,
                      .epsilon = 1e-8,
                      .weight_decay = 0.1,
                      .clip_norm = 1.0};
  recipe.lr = {.kind = LrSchedule::kCosine, .warmup_steps = 5, .decay_steps = 0, .min_ratio = 0.1};
  recipe.numerics.reduction = Reduction::kExact;
  recipe.steps = 30;
  recipe.sequence_length = 16;
  recipe.global_batch_tokens = int64_t{16} * 16;
  recipe.grain_samples = 1;
  recipe.seed = 1;
  return recipe;
}

Plan plan_from_borders(const std::vector<std::vector<int>>& borders,
                       const std::vector<int64_t>& shares) {
  Plan plan;
  int rank = 0;
  for (size_t r = 0; r < borders.size(); ++r) {
    ReplicaPlan replica;
    replica.share = shares[r];
    for (size_t i = 0; i + 1 < borders[r].size(); ++i) {
      StagePlan stage;
      stage.ranks = {rank++};
      stage.layers = {{.first = borders[r][i], .last = borders[r][i + 1] - 1}};
      replica.stages.push_back(stage);
    }
    plan.replicas.push_back(replica);
  }
  return plan;
}

}  // namespace kente
