#include <google/protobuf/text_format.h>

#include "csrc/base/errors.h"
#include "csrc/base/file_system.h"
#include "csrc/base/hash.h"
#include "csrc/config/parse.h"
#include "csrc/config/proto_values.h"
#include "csrc/config/recipe.pb.h"
#include "csrc/config/recipe_checks.h"

namespace kente {
namespace {

constexpr int kRecipeVersion = 1;

LrSchedule schedule_of(proto::LearningRate::Kind kind) {
  switch (kind) {
    case proto::LearningRate::CONSTANT:
      return LrSchedule::kConstant;
    case proto::LearningRate::LINEAR:
      return LrSchedule::kLinear;
    case proto::LearningRate::WSD:
      return LrSchedule::kWsd;
    case proto::LearningRate::COSINE:
      break;
  }
  return LrSchedule::kCosine;
}

proto::LearningRate::Kind kind_of(LrSchedule schedule) {
  switch (schedule) {
    case LrSchedule::kConstant:
      return proto::LearningRate::CONSTANT;
    case LrSchedule::kLinear:
      return proto::LearningRate::LINEAR;
    case LrSchedule::kWsd:
      return proto::LearningRate::WSD;
    case LrSchedule::kCosine:
      break;
  }
  return proto::LearningRate::COSINE;
}

ModelConfig model_value(const proto::Model& model) {
  ModelConfig out;
  out.family = family_of(model.model_type());
  out.vocab_size = model.vocab_size();
  out.hidden_size = model.hidden_size();
  out.intermediate_size = model.intermediate_size();
  out.num_hidden_layers = model.num_hidden_layers();
  out.num_attention_heads = model.num_attention_heads();
  out.num_key_value_heads = model.num_key_value_heads();
  out.max_position_embeddings = model.max_position_embeddings();
  out.norm_epsilon =
      out.family == ModelFamily::kGpt2 ? model.layer_norm_epsilon() : model.rms_norm_eps();
  out.rope_theta = model.rope_theta();
  out.tie_word_embeddings = model.tie_word_embeddings();
  out.initializer_range = model.initializer_range();
  return out;
}

void put_model(const ModelConfig& model, proto::Model& out) {
  out.set_model_type(type_of(model.family));
  out.set_vocab_size(model.vocab_size);
  out.set_hidden_size(model.hidden_size);
  out.set_intermediate_size(model.intermediate_size);
  out.set_num_hidden_layers(model.num_hidden_layers);
  out.set_num_attention_heads(model.num_attention_heads);
  out.set_num_key_value_heads(model.num_key_value_heads);
  out.set_max_position_embeddings(model.max_position_embeddings);
  if (model.family == ModelFamily::kGpt2) {
    out.set_layer_norm_epsilon(model.norm_epsilon);
  } else {
    out.set_rms_norm_eps(model.norm_epsilon);
    out.set_rope_theta(model.rope_theta);
  }
  out.set_tie_word_embeddings(model.tie_word_embeddings);
  out.set_initializer_range(model.initializer_range);
}

Recipe recipe_value(const proto::Recipe& recipe) {
  Recipe out;
  out.name = recipe.name();
  out.description = recipe.description();
  out.model = model_value(recipe.model());
  for (const proto::Source& source : recipe.data().source())
    out.data.sources.push_back(
        {.id = source.id(), .digest = source.digest(), .weight = source.weight()});
  out.data.tokenizer_digest = recipe.data().tokenizer_digest();
  out.data.stop_at_documents = recipe.data().stop_at_documents();
  const proto::Optimizer& optimizer = recipe.optimizer();
  out.optimizer = {.learning_rate = optimizer.learning_rate(),
                   .beta1 = optimizer.beta1(),
                   .beta2 = optimizer.beta2(),
                   .epsilon = optimizer.epsilon(),
                   .weight_decay = optimizer.weight_decay(),
                   .clip_norm = optimizer.clip_norm()};
  out.lr = {.kind = schedule_of(recipe.lr().kind()),
            .warmup_steps = recipe.lr().warmup_steps(),
            .decay_steps = recipe.lr().decay_steps(),
            .min_ratio = recipe.lr().min_ratio()};
  out.numerics = {.compute = dtype_of(recipe.numerics().compute()),
                  .boundary = dtype_of(recipe.numerics().boundary()),
                  .reduction = recipe.numerics().reduction() == proto::Numerics::EXACT
                                   ? Reduction::kExact
                                   : Reduction::kFast,
                  .substitutes = {}};
  for (const int substitute : recipe.numerics().substitute())
    out.numerics.substitutes.push_back(dtype_of(static_cast<proto::Precision>(substitute)));
  out.validation = {.every_steps = recipe.validation().every_steps(),
                    .samples_per_source = recipe.validation().samples_per_source()};
  const proto::Guards& guards = recipe.guards();
  out.guards = {.max_skips = guards.max_skips(),
                .window_steps = guards.window_steps(),
                .spike_factor = guards.spike_factor(),
                .norm_factor = guards.norm_factor(),
                .spike_steps = guards.spike_steps(),
                .rollback_steps = guards.rollback_steps(),
                .max_rollbacks = guards.max_rollbacks()};
  out.steps = recipe.steps();
  out.sequence_length = recipe.sequence_length();
  out.global_batch_tokens = recipe.global_batch_tokens();
  out.grain_samples = recipe.grain_samples();
  out.seed = recipe.seed();
  return out;
}

void put_data(const DataConfig& data, proto::Data& out) {
  for (const SourceConfig& source : data.sources) {
    proto::Source& added = *out.add_source();
    added.set_id(source.id);
    added.set_digest(source.digest);
    added.set_weight(source.weight);
  }
  out.set_tokenizer_digest(data.tokenizer_digest);
  out.set_stop_at_documents(data.stop_at_documents);
}

void put_training(const Recipe& recipe, proto::Recipe& out) {
  proto::Optimizer& optimizer = *out.mutable_optimizer();
  optimizer.set_learning_rate(recipe.optimizer.learning_rate);
  optimizer.set_beta1(recipe.optimizer.beta1);
  optimizer.set_beta2(recipe.optimizer.beta2);
  optimizer.set_epsilon(recipe.optimizer.epsilon);
  optimizer.set_weight_decay(recipe.optimizer.weight_decay);
  optimizer.set_clip_norm(recipe.optimizer.clip_norm);
  proto::LearningRate& lr = *out.mutable_lr();
  lr.set_kind(kind_of(recipe.lr.kind));
  lr.set_warmup_steps(recipe.lr.warmup_steps);
  lr.set_decay_steps(recipe.lr.decay_steps);
  lr.set_min_ratio(recipe.lr.min_ratio);
  proto::Numerics& numerics = *out.mutable_numerics();
  numerics.set_compute(precision_of(recipe.numerics.compute));
  numerics.set_boundary(precision_of(recipe.numerics.boundary));
  numerics.set_reduction(recipe.numerics.reduction == Reduction::kExact ? proto::Numerics::EXACT
                                                                        : proto::Numerics::FAST);
  for (const DType substitute : recipe.numerics.substitutes)
    numerics.add_substitute(precision_of(substitute));
  out.mutable_validation()->set_every_steps(recipe.validation.every_steps);
  out.mutable_validation()->set_samples_per_source(recipe.validation.samples_per_source);
}

void put_guards(const GuardConfig& guards, proto::Guards& out) {
  out.set_max_skips(guards.max_skips);
  out.set_window_steps(guards.window_steps);
  out.set_spike_factor(guards.spike_factor);
  out.set_norm_factor(guards.norm_factor);
  out.set_spike_steps(guards.spike_steps);
  out.set_rollback_steps(guards.rollback_steps);
  out.set_max_rollbacks(guards.max_rollbacks);
}

proto::Recipe to_proto(const Recipe& recipe) {
  proto::Recipe out;
  out.set_version(kRecipeVersion);
  out.set_name(recipe.name);
  out.set_description(recipe.description);
  out.set_steps(recipe.steps);
  out.set_sequence_length(recipe.sequence_length);
  out.set_global_batch_tokens(recipe.global_batch_tokens);
  out.set_grain_samples(recipe.grain_samples);
  out.set_seed(recipe.seed);
  put_model(recipe.model, *out.mutable_model());
  put_data(recipe.data, *out.mutable_data());
  put_training(recipe, out);
  put_guards(recipe.guards, *out.mutable_guards());
  return out;
}

}  // namespace

ModelFamily family_of(proto::Model_ModelType type) {
  if (type == proto::Model::llama) return ModelFamily::kLlama;
  return type == proto::Model::qwen2 ? ModelFamily::kQwen2 : ModelFamily::kGpt2;
}

proto::Model_ModelType type_of(ModelFamily family) {
  if (family == ModelFamily::kLlama) return proto::Model::llama;
  return family == ModelFamily::kQwen2 ? proto::Model::qwen2 : proto::Model::gpt2;
}

DType dtype_of(proto::Precision precision) {
  if (precision == proto::F16) return DType::kF16;
  return precision == proto::BF16 ? DType::kBF16 : DType::kF32;
}

proto::Precision precision_of(DType dtype) {
  if (dtype == DType::kF16) return proto::F16;
  KENTE_CHECK(dtype == DType::kF32 || dtype == DType::kBF16, std::string(name_of(dtype)));
  return dtype == DType::kBF16 ? proto::BF16 : proto::F32;
}

std::string print(const google::protobuf::Message& message) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetUseUtf8StringEscaping(true);
  printer.SetUseShortRepeatedPrimitives(true);
  std::string text;
  KENTE_CHECK(printer.PrintToString(message, &text), message.GetTypeName());
  return text;
}

Recipe parse_recipe(const std::string& text, const std::string& file,
                    const std::vector<std::string>& overrides) {
  proto::Recipe recipe;
  const TextDocument document(text, file, overrides, kRecipeVersion, recipe);
  require_fields(recipe, document);
  fill_defaults(recipe);
  validate(recipe, document);
  return recipe_value(recipe);
}

Recipe load_recipe(const std::string& path, const std::vector<std::string>& overrides) {
  return parse_recipe(read_text_file(path, kMaxConfigBytes), path, overrides);
}

std::string to_text(const Recipe& recipe) { return print(to_proto(recipe)); }

std::string recipe_sha256(const Recipe& recipe) {
  Recipe nameless = recipe;
  nameless.name.clear();
  nameless.description.clear();
  proto::Recipe digested = to_proto(nameless);
  // Recipes older than the guards keep their digest, and their checkpoints.
  if (recipe.guards == GuardConfig()) digested.clear_guards();
  return sha256_hex(print(digested));
}

std::string_view model_type_of(ModelFamily family) {
  switch (family) {
    case ModelFamily::kLlama:
      return "llama";
    case ModelFamily::kQwen2:
      return "qwen2";
    case ModelFamily::kGpt2:
      break;
  }
  return "gpt2";
}

std::string_view norm_epsilon_name(ModelFamily family) {
  return family == ModelFamily::kGpt2 ? "layer_norm_epsilon" : "rms_norm_eps";
}

}  // namespace kente
