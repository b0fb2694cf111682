#include <algorithm>
#include <cstdint>
#include <set>
#include <string>

#include "csrc/config/recipe.pb.h"
#include "csrc/config/recipe_checks.h"

namespace kente {
namespace {

using Real = TextDocument::Real;

// Limits keep every product that we form inside 64 bits; they are far above what anybody trains.
constexpr int64_t kMaxSteps = 1'000'000'000;
constexpr int64_t kMaxBatchTokens = int64_t{1} << 32;
constexpr int64_t kMaxGrains = int64_t{1} << 20;
constexpr int64_t kMaxLength = int64_t{1} << 24;
constexpr int64_t kMaxGrainSamples = int64_t{1} << 16;
constexpr int64_t kMaxVocabulary = int64_t{1} << 24;
constexpr int64_t kMaxWidth = int64_t{1} << 20;
constexpr int64_t kMaxBlocks = 4096;
constexpr int kMaxSources = 4096;
constexpr double kMaxWeight = 1e9;
constexpr int64_t kMaxGuardWindow = 4096;  // its losses are stored with every checkpoint

bool is_name(const std::string& name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= 100 && name.front() != '.' && name.front() != '-' &&
         std::all_of(name.begin(), name.end(), allowed);
}

bool is_digest(const std::string& digest) {
  const auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return digest.size() == 64 && std::all_of(digest.begin(), digest.end(), hex);
}

// Well-formed UTF-8 without control characters: what a report may show and JSON may hold.
bool is_plain_utf8(const std::string& s) {
  for (size_t i = 0; i < s.size();) {
    const auto byte = [&](size_t at) {
      return at < s.size() ? static_cast<uint32_t>(static_cast<unsigned char>(s[at])) : 0u;
    };
    const uint32_t lead = byte(i);
    const int more = lead < 0x80       ? 0
                     : lead >> 5 == 6  ? 1
                     : lead >> 4 == 14 ? 2
                     : lead >> 3 == 30 ? 3
                                       : -1;
    if (more < 0) return false;
    uint32_t code = more == 0 ? lead : lead & (0x3fu >> more);
    for (int k = 1; k <= more; ++k) {
      const uint32_t next = byte(i + static_cast<size_t>(k));
      if (next >> 6 != 2) return false;
      code = code << 6 | (next & 0x3f);
    }
    constexpr uint32_t kLeast[] = {0, 0x80, 0x800, 0x10000};
    const bool control = code < 0x20 && code != '\n' && code != '\t';
    if (control || code == 0x7f || code < kLeast[more] || code > 0x10ffff ||
        (code >= 0xd800 && code <= 0xdfff))
      return false;
    i += static_cast<size_t>(more) + 1;
  }
  return true;
}

class RecipeValidator {
 public:
  RecipeValidator(const proto::Recipe& recipe, const TextDocument& document)
      : recipe_(recipe), model_(recipe.model()), document_(document) {}

  void check() const {
    check_names();
    check_model_sizes();
    check_model_family();
    check_batch();
    check_sources();
    check_optimizer();
    check_numerics();
    check_validation();
    check_guards();
  }

 private:
  void integer(const char* path, int64_t value, int64_t least, int64_t most) const {
    document_.check_integer(path, value, least, most);
  }
  void real(const char* path, double value, Real allowed) const {
    document_.check_real(path, value, allowed);
  }
  [[noreturn]] void fail(const std::string& path, const std::string& what) const {
    document_.fail(path, what);
  }

  void check_names() const {
    if (!is_name(recipe_.name()))
      fail("name",
           "name names directories; allowed: 1 to 100 of a-z A-Z 0-9 . _ - and no dot or "
           "dash in front");
    if (!is_plain_utf8(recipe_.description()))
      fail("description", "description is not plain UTF-8 text; remove control characters");
  }

  void check_model_sizes() const {
    integer("model.vocab_size", model_.vocab_size(), 2, kMaxVocabulary);
    integer("model.hidden_size", model_.hidden_size(), 1, kMaxWidth);
    integer("model.intermediate_size", model_.intermediate_size(), 1, 8 * kMaxWidth);
    integer("model.num_hidden_layers", model_.num_hidden_layers(), 1, kMaxBlocks);
    integer("model.num_attention_heads", model_.num_attention_heads(), 1, kMaxWidth);
    integer("model.num_key_value_heads", model_.num_key_value_heads(), 1, kMaxWidth);
    integer("model.max_position_embeddings", model_.max_position_embeddings(), 1, kMaxLength);
    real("model.initializer_range", model_.initializer_range(), Real::kPositive);
    const int64_t heads = model_.num_attention_heads();
    if (model_.hidden_size() % heads != 0)
      fail("model.num_attention_heads", "model.num_attention_heads is " + text(heads) +
                                            " and does not divide model.hidden_size " +
                                            text(model_.hidden_size()) + "; take a divisor");
    if (heads % model_.num_key_value_heads() != 0)
      fail("model.num_key_value_heads", "model.num_key_value_heads is " +
                                            text(model_.num_key_value_heads()) +
                                            " and does not divide model.num_attention_heads " +
                                            text(heads) + "; take a divisor");
  }

  void check_model_family() const {
    if (model_.model_type() == proto::Model::gpt2) {
      real("model.layer_norm_epsilon", model_.layer_norm_epsilon(), Real::kPositive);
      if (model_.num_key_value_heads() != model_.num_attention_heads())
        fail("model.num_key_value_heads",
             "model.num_key_value_heads is " + text(model_.num_key_value_heads()) +
                 "; gpt2 has no grouped queries: allowed is " + text(model_.num_attention_heads()) +
                 ", as num_attention_heads");
      if (model_.has_rms_norm_eps())
        fail("model.rms_norm_eps",
             "model.rms_norm_eps: gpt2 has layer norm; write "
             "layer_norm_epsilon");
      if (model_.has_rope_theta())
        fail("model.rope_theta", "model.rope_theta: gpt2 has learned positions; remove it");
      return;
    }
    real("model.rms_norm_eps", model_.rms_norm_eps(), Real::kPositive);
    real("model.rope_theta", model_.rope_theta(), Real::kPositive);
    if (model_.has_layer_norm_epsilon())
      fail("model.layer_norm_epsilon",
           "model.layer_norm_epsilon: this family has RMS norm; write "
           "rms_norm_eps");
    const int64_t head_dim = model_.hidden_size() / model_.num_attention_heads();
    if (head_dim % 2 != 0)
      fail("model.num_attention_heads", "head size hidden_size / num_attention_heads is " +
                                            text(head_dim) +
                                            "; rotary positions turn pairs: it must be even");
  }

  void check_batch() const {
    integer("steps", recipe_.steps(), 1, kMaxSteps);
    integer("sequence_length", recipe_.sequence_length(), 1, kMaxLength);
    integer("grain_samples", recipe_.grain_samples(), 1, kMaxGrainSamples);
    integer("global_batch_tokens", recipe_.global_batch_tokens(), 1, kMaxBatchTokens);
    if (recipe_.sequence_length() > model_.max_position_embeddings())
      fail("sequence_length", "sequence_length is " + text(recipe_.sequence_length()) +
                                  "; allowed: at most model.max_position_embeddings, " +
                                  text(model_.max_position_embeddings()));
    const int64_t grain_tokens = recipe_.sequence_length() * recipe_.grain_samples();
    const int64_t grains = recipe_.global_batch_tokens() / grain_tokens;
    if (grains * grain_tokens != recipe_.global_batch_tokens())
      fail("global_batch_tokens", "global_batch_tokens is " + text(recipe_.global_batch_tokens()) +
                                      "; allowed: a multiple of sequence_length x grain_samples, " +
                                      text(grain_tokens));
    if (grains > kMaxGrains)
      fail("global_batch_tokens", "global_batch_tokens makes " + text(grains) +
                                      " grains a step; allowed: " + text(kMaxGrains) +
                                      ": raise grain_samples");
  }

  void check_sources() const {
    const proto::Data& data = recipe_.data();
    if (data.source_size() == 0 || data.source_size() > kMaxSources)
      fail("data", "data has " + text(data.source_size()) + " sources; allowed: 1 to " +
                       text(kMaxSources) + ", each as source { id: \"...\" }");
    std::set<std::string> ids;
    for (int i = 0; i < data.source_size(); ++i) {
      const proto::Source& source = data.source(i);
      const std::string path = element("data.source", i);
      if (!is_name(source.id()))
        fail(path + ".id", path +
                               ".id names files; allowed: 1 to 100 of a-z A-Z 0-9 . _ - and no "
                               "dot or dash in front");
      if (!ids.insert(source.id()).second)
        fail(path + ".id", path + ".id \"" + source.id() + "\" is listed twice; keep one");
      if (!source.digest().empty() && !is_digest(source.digest()))
        fail(path + ".digest", path +
                                   ".digest is not a SHA-256; write the manifest's 64 "
                                   "lower-case hex digits");
      document_.check_real(path + ".weight", source.weight(), Real::kPositive);
      if (source.weight() > kMaxWeight)
        fail(path + ".weight", path + ".weight is " + shortest(source.weight()) +
                                   "; allowed: at most " + shortest(kMaxWeight));
    }
    if (!data.tokenizer_digest().empty() && !is_digest(data.tokenizer_digest()))
      fail("data.tokenizer_digest",
           "data.tokenizer_digest is not a SHA-256; write 64 lower-case "
           "hex digits");
  }

  void check_optimizer() const {
    const proto::Optimizer& optimizer = recipe_.optimizer();
    real("optimizer.learning_rate", optimizer.learning_rate(), Real::kPositive);
    real("optimizer.beta1", optimizer.beta1(), Real::kBelowOne);
    real("optimizer.beta2", optimizer.beta2(), Real::kBelowOne);
    real("optimizer.epsilon", optimizer.epsilon(), Real::kPositive);
    real("optimizer.weight_decay", optimizer.weight_decay(), Real::kNotNegative);
    real("optimizer.clip_norm", optimizer.clip_norm(), Real::kNotNegative);
    const proto::LearningRate& lr = recipe_.lr();
    integer("lr.warmup_steps", lr.warmup_steps(), 0, recipe_.steps());
    real("lr.min_ratio", lr.min_ratio(), Real::kFraction);
    if (lr.kind() == proto::LearningRate::WSD) {
      integer("lr.decay_steps", lr.decay_steps(), 1, recipe_.steps());
      if (lr.decay_steps() > recipe_.steps() - lr.warmup_steps())
        fail("lr.decay_steps",
             "lr.decay_steps is " + text(lr.decay_steps()) + " with " + text(lr.warmup_steps()) +
                 " steps of warm-up; allowed: together at most steps, " + text(recipe_.steps()));
    } else if (lr.decay_steps() != 0) {
      fail("lr.decay_steps", "lr.decay_steps is " + text(lr.decay_steps()) +
                                 "; only lr.kind WSD has a decay of its own: remove it");
    }
  }

  // A boundary that is narrower or wider than the activations rounds where a plan puts a stage
  // border, or not at all on one rank: the bits would depend on the plan.
  void check_numerics() const {
    const proto::Numerics& numerics = recipe_.numerics();
    if (numerics.reduction() == proto::Numerics::EXACT && numerics.boundary() != numerics.compute())
      fail("numerics.boundary", "numerics.boundary is " + Precision_Name(numerics.boundary()) +
                                    "; reduction EXACT allows only numerics.compute, " +
                                    Precision_Name(numerics.compute()) +
                                    ": else bits depend on the plan");
    if (numerics.boundary() == proto::F16)
      fail("numerics.boundary",
           "numerics.boundary is F16; gradients travel unscaled, and small ones would vanish: take "
           "F32 or BF16");
    if (numerics.reduction() == proto::Numerics::EXACT && numerics.compute() == proto::F16)
      fail("numerics.compute",
           "numerics.compute is F16; reduction EXACT allows F32 and BF16: with scaled gradients "
           "bits depend on the plan");
    std::set<int> known = {numerics.compute()};
    for (int i = 0; i < numerics.substitute_size(); ++i) {
      const std::string path = element("numerics.substitute", i);
      const std::string name = Precision_Name(numerics.substitute(i));
      if (numerics.reduction() == proto::Numerics::EXACT)
        document_.fail(path, path + " is " + name +
                                 "; reduction EXACT allows no substitutes: else bits depend on "
                                 "the plan");
      if (!known.insert(numerics.substitute(i)).second)
        document_.fail(path, path + " is " + name +
                                 ", which is numerics.compute or another substitute already; "
                                 "remove it");
    }
  }

  void check_validation() const {
    const proto::Validation& validation = recipe_.validation();
    integer("validation.every_steps", validation.every_steps(), 0, kMaxSteps);
    integer("validation.samples_per_source", validation.samples_per_source(),
            validation.every_steps() == 0 ? 0 : 1, kMaxLength);
  }

  void check_guards() const {
    const proto::Guards& guards = recipe_.guards();
    integer("guards.max_skips", guards.max_skips(), 0, kMaxSteps);
    integer("guards.window_steps", guards.window_steps(), 0, kMaxGuardWindow);
    real("guards.spike_factor", guards.spike_factor(), Real::kPositive);
    real("guards.norm_factor", guards.norm_factor(), Real::kPositive);
    integer("guards.spike_steps", guards.spike_steps(), 1, kMaxGuardWindow);
    integer("guards.rollback_steps", guards.rollback_steps(), 1, kMaxSteps);
    integer("guards.max_rollbacks", guards.max_rollbacks(), 0, 1000);
  }

  const proto::Recipe& recipe_;
  const proto::Model& model_;
  const TextDocument& document_;
};

}  // namespace

void require_fields(const proto::Recipe& recipe, const TextDocument& document) {
  document.require(recipe, "",
                   {"version", "name", "steps", "sequence_length", "global_batch_tokens", "model",
                    "data", "optimizer"});
  document.require(
      recipe.model(), "model.",
      {"model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"});
  if (recipe.model().model_type() != proto::Model::gpt2)
    document.require(recipe.model(), "model.", {"intermediate_size"});
  for (int i = 0; i < recipe.data().source_size(); ++i)
    document.require(recipe.data().source(i), element("data.source", i) + ".", {"id"});
  document.require(recipe.optimizer(), "optimizer.", {"learning_rate"});
}

void validate(const proto::Recipe& recipe, const TextDocument& document) {
  RecipeValidator(recipe, document).check();
}

}  // namespace kente
