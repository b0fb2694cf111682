#include "csrc/base/errors.h"
#include "csrc/base/file_system.h"
#include "csrc/config/imitation.h"
#include "csrc/config/imitation.pb.h"
#include "csrc/config/parse.h"
#include "csrc/config/proto_values.h"
#include "csrc/config/text_document.h"

namespace kente {
namespace {

constexpr int kImitationVersion = 1;
constexpr int64_t kMostImitated = 4096;
constexpr int64_t kMostSteps = int64_t{1} << 40;
constexpr int64_t kMostImitatedMemory = int64_t{1} << 60;
using Real = TextDocument::Real;
using Rank = proto::Imitation::Rank;
using Layer = proto::Imitation::Layer;

/// Every default of an imitation, in one place.
void fill_defaults(proto::Imitation& imitation) {
  if (!imitation.has_seed()) imitation.set_seed(1);
  for (Rank& rank : *imitation.mutable_rank()) {
    if (!rank.has_count()) rank.set_count(1);
    if (!rank.has_kind()) rank.set_kind("imitated");
    if (!rank.has_speed()) rank.set_speed(1);
    if (!rank.has_exponent()) rank.set_exponent(1);
    if (!rank.has_drift_factor()) rank.set_drift_factor(1);
  }
}

void check_layer(const Layer& layer, const std::string& path, const TextDocument& document) {
  const bool head = path.ends_with("head");
  document.require(layer, path + ".", {"forward", "backward_input", "backward_weight"});
  if (head) document.require(layer, path + ".", {"loss"});
  // An embedding has no gradient of its input.
  const Real input = path.ends_with("embedding") ? Real::kNotNegative : Real::kPositive;
  document.check_real(path + ".forward", layer.forward(), Real::kPositive);
  document.check_real(path + ".backward_input", layer.backward_input(), input);
  document.check_real(path + ".backward_weight", layer.backward_weight(), Real::kPositive);
  document.check_real(path + ".loss", layer.loss(), Real::kNotNegative);
  if (layer.has_loss() && !head)
    document.fail(path + ".loss", path + ".loss: only the head has a loss; leave it out");
}

void check_rank(const Rank& rank, const std::string& path, const TextDocument& document) {
  document.check_integer(path + ".count", rank.count(), 1, kMostImitated);
  const int given = rank.has_embedding() + rank.has_block() + rank.has_head();
  if (given != 0) document.require(rank, path + ".", {"embedding", "block", "head"});
  if (rank.has_embedding()) check_layer(rank.embedding(), path + ".embedding", document);
  if (rank.has_block()) check_layer(rank.block(), path + ".block", document);
  if (rank.has_head()) check_layer(rank.head(), path + ".head", document);
  document.check_real(path + ".speed", rank.speed(), Real::kPositive);
  document.check_real(path + ".fixed", rank.fixed(), Real::kBelowOne);
  document.check_real(path + ".exponent", rank.exponent(), Real::kPositive);
  document.check_real(path + ".noise", rank.noise(), Real::kBelowOne);
  document.check_integer(path + ".drift_after_steps", rank.drift_after_steps(), 0, kMostSteps);
  document.check_integer(path + ".drift_for_steps", rank.drift_for_steps(), 0, kMostSteps);
  document.check_real(path + ".drift_factor", rank.drift_factor(), Real::kPositive);
  document.check_integer(path + ".memory_bytes", rank.memory_bytes(), 0, kMostImitatedMemory);
}

void validate(const proto::Imitation& imitation, const TextDocument& document) {
  document.require(imitation, "", {"version"});
  if (imitation.rank_size() == 0)
    document.fail("rank", "no rank is imitated; write rank { block { ... } ... }");
  int64_t ranks = 0;
  for (int r = 0; r < imitation.rank_size(); ++r) {
    check_rank(imitation.rank(r), element("rank", r), document);
    ranks += imitation.rank(r).count();
    if (ranks > kMostImitated)
      document.fail(element("rank", r) + ".count",
                    "more than " + std::to_string(kMostImitated) + " ranks; imitate fewer");
  }
}

ImitatedLayer layer_value(const Layer& in) {
  return {.forward = in.forward(),
          .loss = in.loss(),
          .backward_input = in.backward_input(),
          .backward_weight = in.backward_weight()};
}

ImitatedRank rank_value(const Rank& in) {
  return {.kind = in.kind(),
          .waits = in.has_block(),
          .embedding = layer_value(in.embedding()),
          .block = layer_value(in.block()),
          .head = layer_value(in.head()),
          .speed = in.speed(),
          .fixed = in.fixed(),
          .exponent = in.exponent(),
          .noise = in.noise(),
          .drift_after_steps = in.drift_after_steps(),
          .drift_factor = in.drift_factor(),
          .drift_for_steps = in.drift_for_steps(),
          .memory_bytes = in.memory_bytes()};
}

void put_layer(const ImitatedLayer& in, bool head, Layer& out) {
  out.set_forward(in.forward);
  if (head) out.set_loss(in.loss);
  out.set_backward_input(in.backward_input);
  out.set_backward_weight(in.backward_weight);
}

void put_rank(const ImitatedRank& in, Rank& out) {
  out.set_kind(in.kind);
  if (in.waits) {
    put_layer(in.embedding, false, *out.mutable_embedding());
    put_layer(in.block, false, *out.mutable_block());
    put_layer(in.head, true, *out.mutable_head());
  }
  out.set_speed(in.speed);
  out.set_fixed(in.fixed);
  out.set_exponent(in.exponent);
  out.set_noise(in.noise);
  out.set_drift_after_steps(in.drift_after_steps);
  out.set_drift_factor(in.drift_factor);
  out.set_drift_for_steps(in.drift_for_steps);
  out.set_memory_bytes(in.memory_bytes);
}

}  // namespace

const ImitatedRank& Imitation::rank(int rank) const {
  if (rank < 0 || static_cast<size_t>(rank) >= ranks.size())
    throw UsageError("the imitation has " + std::to_string(ranks.size()) +
                     " ranks, and there is a rank " + std::to_string(rank) +
                     "; add rank { ... } to it or start fewer");
  return ranks[static_cast<size_t>(rank)];
}

Imitation parse_imitation(const std::string& text, const std::string& file) {
  proto::Imitation imitation;
  const TextDocument document(text, file, {}, kImitationVersion, imitation);
  fill_defaults(imitation);
  validate(imitation, document);
  Imitation out{.seed = imitation.seed(), .ranks = {}};
  for (const Rank& rank : imitation.rank())
    out.ranks.insert(out.ranks.end(), static_cast<size_t>(rank.count()), rank_value(rank));
  return out;
}

Imitation load_imitation(const std::string& path) {
  return parse_imitation(read_text_file(path, kMaxConfigBytes), path);
}

std::string to_text(const Imitation& imitation) {
  proto::Imitation out;
  out.set_version(kImitationVersion);
  out.set_seed(imitation.seed);
  for (const ImitatedRank& rank : imitation.ranks) put_rank(rank, *out.add_rank());
  return print(out);
}

}  // namespace kente
