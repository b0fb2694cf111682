#include <limits>
#include <map>

#include "csrc/base/file_system.h"
#include "csrc/config/parse.h"
#include "csrc/config/plan.pb.h"
#include "csrc/config/proto_values.h"
#include "csrc/config/text_document.h"

namespace kente {
namespace {

constexpr int kPlanVersion = 1;
constexpr int kMaxRank = 1 << 20;
constexpr int64_t kMaxMicroBatches = 1 << 20;
constexpr int64_t kMaxMicroseconds = 1'000'000'000;

/// Every default of a plan, in one place.
void fill_defaults(proto::Plan& plan, const Recipe& recipe) {
  if (!plan.has_schedule()) plan.set_schedule(proto::Plan::ONE_F_ONE_B);
  for (proto::Replica& replica : *plan.mutable_replica()) {
    if (!replica.has_share() && plan.replica_size() == 1)
      replica.set_share(recipe.grains_per_step());
    if (!replica.has_grains_per_micro_batch()) replica.set_grains_per_micro_batch(1);
    for (proto::Stage& stage : *replica.mutable_stage()) {
      if (!stage.has_compute()) stage.set_compute(precision_of(recipe.numerics.compute));
      if (!stage.has_recompute()) stage.set_recompute(proto::Stage::NONE);
    }
  }
}

class PlanValidator {
 public:
  PlanValidator(const proto::Plan& plan, const Recipe& recipe, const TextDocument& document)
      : plan_(plan), recipe_(recipe), document_(document) {}

  void check() {
    document_.require(plan_, "", {"version"});
    if (plan_.replica_size() == 0)
      document_.fail("replica", "the plan has no replica; write replica { stage { ... } }");
    for (int r = 0; r < plan_.replica_size(); ++r) check_replica(r);
    check_shares();
    if (plan_.has_prediction()) check_prediction();
  }

 private:
  void check_replica(int r) {
    const proto::Replica& replica = plan_.replica(r);
    const std::string path = element("replica", r);
    document_.require(replica, path + ".", {"share"});
    document_.check_integer(path + ".share", replica.share(), 1, recipe_.grains_per_step());
    document_.check_integer(path + ".grains_per_micro_batch", replica.grains_per_micro_batch(), 1,
                            replica.share());
    if (recipe_.numerics.reduction == Reduction::kExact && replica.grains_per_micro_batch() != 1)
      document_.fail(path + ".grains_per_micro_batch",
                     path + ".grains_per_micro_batch is " + text(replica.grains_per_micro_batch()) +
                         "; the recipe says reduction EXACT: only 1 is allowed, grains run singly");
    if (replica.has_under_way()) check_under_way(replica, path + ".under_way");
    if (replica.stage_size() == 0)
      document_.fail(path, path + " has no stage; write stage { ranks: 0 layers { ... } }");
    std::map<int, std::string> owner_of_layer;
    for (int s = 0; s < replica.stage_size(); ++s) {
      const std::string stage = element(path + ".stage", s);
      check_stage(replica.stage(s), stage);
      check_layers(replica.stage(s), stage, owner_of_layer);
    }
    for (int layer = 0; layer < recipe_.model.num_layers(); ++layer)
      if (!owner_of_layer.count(layer))
        document_.fail(path, path + ": layer " + text(layer) +
                                 " is on no stage; place layers 0 to " +
                                 text(recipe_.model.num_layers() - 1));
  }

  void check_stage(const proto::Stage& stage, const std::string& path) {
    if (stage.ranks_size() != 1)
      document_.fail(path + ".ranks[0]", path + ".ranks has " + text(stage.ranks_size()) +
                                             " ranks; allowed today: exactly one");
    const int rank = stage.ranks(0);
    document_.check_integer(path + ".ranks[0]", rank, 0, kMaxRank);
    const auto [it, added] = stage_of_rank_.emplace(rank, path);
    if (!added)
      document_.fail(path + ".ranks[0]", path + ": rank " + text(rank) + " is used by " +
                                             it->second +
                                             " too; give each stage a rank of its own");
    std::string names;
    bool known = false;
    for (const DType allowed : recipe_.numerics.allowed()) {
      known = known || allowed == dtype_of(stage.compute());
      names += (names.empty() ? "" : ", ") + Precision_Name(precision_of(allowed));
    }
    if (!known)
      document_.fail(path + ".compute", path + ".compute is " + Precision_Name(stage.compute()) +
                                            "; the recipe allows " + names);
    const std::string weight = path + ".optimizer_weight";
    document_.check_integer(weight, stage.optimizer_weight(), 0, kMaxOptimizerWeight);
    if (stage.optimizer_weight() > 0 && !plan_.shard_optimizer())
      document_.fail(weight, weight + " is " + text(stage.optimizer_weight()) +
                                 ", but the plan does not shard; write shard_optimizer: true");
    if (stage.has_times()) check_times(stage.times(), path + ".times");
  }

  void check_under_way(const proto::Replica& replica, const std::string& path) const {
    check_zero_bubble(path);
    document_.check_integer(path, replica.under_way(), 1, kMaxMicroBatches);
  }

  void check_zero_bubble(const std::string& path) const {
    if (plan_.schedule() != proto::Plan::ZERO_BUBBLE)
      document_.fail(path, path +
                               " is for a zero-bubble schedule; write schedule: ZERO_BUBBLE, or "
                               "take it away");
  }

  void check_times(const proto::PassTimes& times, const std::string& path) const {
    check_zero_bubble(path);
    document_.require(times, path + ".", {"forward", "backward_input", "backward_weight"});
    document_.check_integer(path + ".forward", times.forward(), 1, kMaxMicroseconds);
    document_.check_integer(path + ".backward_input", times.backward_input(), 1, kMaxMicroseconds);
    document_.check_integer(path + ".backward_weight", times.backward_weight(), 1,
                            kMaxMicroseconds);
    document_.check_integer(path + ".message", times.message(), 0, kMaxMicroseconds);
  }

  void check_layers(const proto::Stage& stage, const std::string& path,
                    std::map<int, std::string>& owner_of_layer) const {
    const int last_layer = recipe_.model.num_layers() - 1;
    int previous = -1;
    for (int i = 0; i < stage.layers_size(); ++i) {
      const proto::Layers& range = stage.layers(i);
      const std::string at = element(path + ".layers", i);
      document_.require(range, at + ".", {"first", "last"});
      document_.check_integer(at + ".first", range.first(), 0, last_layer);
      document_.check_integer(at + ".last", range.last(), range.first(), last_layer);
      for (int layer = range.first(); layer <= range.last(); ++layer) {
        const auto [it, added] = owner_of_layer.emplace(layer, path);
        if (!added)
          document_.fail(at, at + ": layer " + text(layer) + " is on " + it->second +
                                 " too; place each layer once");
      }
      if (range.first() <= previous)
        document_.fail(at, at + " begins at layer " + text(range.first()) +
                               ", after a range that ends at " + text(previous) +
                               "; list ranges ascending");
      previous = range.last();
    }
  }

  void check_shares() const {
    int64_t sum = 0;
    for (int r = 0; r < plan_.replica_size(); ++r) {
      sum += plan_.replica(r).share();
      if (sum > recipe_.grains_per_step() || r + 1 == plan_.replica_size()) {
        if (sum == recipe_.grains_per_step() && r + 1 == plan_.replica_size()) return;
        document_.fail(element("replica", r) + ".share",
                       "the shares of the first " + text(r + 1) + " of " +
                           text(plan_.replica_size()) + " replicas add up to " + text(sum) +
                           " grains; all together must be the recipe's grains per step, " +
                           text(recipe_.grains_per_step()));
      }
    }
  }

  void check_prediction() const {
    const proto::Prediction& prediction = plan_.prediction();
    using Real = TextDocument::Real;
    document_.check_real("prediction.step_seconds", prediction.step_seconds(), Real::kNotNegative);
    document_.check_real("prediction.bubble", prediction.bubble(), Real::kFraction);
    for (int i = 0; i < prediction.peak_bytes_size(); ++i)
      document_.check_integer(element("prediction.peak_bytes", i), prediction.peak_bytes(i), 0,
                              std::numeric_limits<int64_t>::max());
  }

  const proto::Plan& plan_;
  const Recipe& recipe_;
  const TextDocument& document_;
  std::map<int, std::string> stage_of_rank_;
};

ScheduleKind schedule_value(proto::Plan::Schedule schedule) {
  switch (schedule) {
    case proto::Plan::GPIPE:
      return ScheduleKind::kGPipe;
    case proto::Plan::ZERO_BUBBLE:
      return ScheduleKind::kZeroBubble;
    case proto::Plan::ONE_F_ONE_B:
      break;
  }
  return ScheduleKind::k1F1B;
}

proto::Plan::Schedule schedule_text(ScheduleKind schedule) {
  switch (schedule) {
    case ScheduleKind::kGPipe:
      return proto::Plan::GPIPE;
    case ScheduleKind::kZeroBubble:
      return proto::Plan::ZERO_BUBBLE;
    case ScheduleKind::k1F1B:
      break;
  }
  return proto::Plan::ONE_F_ONE_B;
}

StagePlan stage_value(const proto::Stage& stage) {
  StagePlan out;
  out.ranks.assign(stage.ranks().begin(), stage.ranks().end());
  for (const proto::Layers& range : stage.layers())
    out.layers.push_back({.first = range.first(), .last = range.last()});
  out.compute = dtype_of(stage.compute());
  out.recompute = stage.recompute() == proto::Stage::FULL ? Recompute::kFull : Recompute::kNone;
  out.optimizer_weight = stage.optimizer_weight();
  out.times = {.forward = stage.times().forward(),
               .backward_input = stage.times().backward_input(),
               .backward_weight = stage.times().backward_weight(),
               .message = stage.times().message()};
  return out;
}

Plan plan_value(const proto::Plan& plan) {
  Plan out;
  out.schedule = schedule_value(plan.schedule());
  out.shard_optimizer = plan.shard_optimizer();
  for (const proto::Replica& replica : plan.replica()) {
    ReplicaPlan& added = out.replicas.emplace_back();
    added.share = replica.share();
    added.grains_per_micro_batch = replica.grains_per_micro_batch();
    added.under_way = replica.under_way();
    for (const proto::Stage& stage : replica.stage()) added.stages.push_back(stage_value(stage));
  }
  if (plan.has_prediction()) {
    const proto::Prediction& prediction = plan.prediction();
    out.prediction =
        Prediction{.step_seconds = prediction.step_seconds(),
                   .bubble = prediction.bubble(),
                   .peak_bytes = {prediction.peak_bytes().begin(), prediction.peak_bytes().end()},
                   .bottleneck = prediction.bottleneck()};
  }
  return out;
}

void put_stage(const StagePlan& stage, proto::Stage& out) {
  for (const int rank : stage.ranks) out.add_ranks(rank);
  for (const LayerRange& range : stage.layers) {
    proto::Layers& added = *out.add_layers();
    added.set_first(range.first);
    added.set_last(range.last);
  }
  out.set_compute(precision_of(stage.compute));
  out.set_recompute(stage.recompute == Recompute::kFull ? proto::Stage::FULL : proto::Stage::NONE);
  if (stage.optimizer_weight > 0) out.set_optimizer_weight(stage.optimizer_weight);
  if (stage.times == PassTimes()) return;
  out.mutable_times()->set_forward(stage.times.forward);
  out.mutable_times()->set_backward_input(stage.times.backward_input);
  out.mutable_times()->set_backward_weight(stage.times.backward_weight);
  out.mutable_times()->set_message(stage.times.message);
}

}  // namespace

const char* name_of(ScheduleKind schedule) {
  switch (schedule) {
    case ScheduleKind::kGPipe:
      return "GPipe";
    case ScheduleKind::k1F1B:
      return "1F1B";
    case ScheduleKind::kZeroBubble:
      return "zero-bubble";
  }
  return "?";
}

Plan parse_plan(const std::string& text_of_plan, const std::string& file, const Recipe& recipe) {
  proto::Plan plan;
  const TextDocument document(text_of_plan, file, {}, kPlanVersion, plan);
  fill_defaults(plan, recipe);
  PlanValidator(plan, recipe, document).check();
  return plan_value(plan);
}

Plan load_plan(const std::string& path, const Recipe& recipe) {
  return parse_plan(read_text_file(path, kMaxConfigBytes), path, recipe);
}

std::string to_text(const Plan& plan) {
  proto::Plan out;
  out.set_version(kPlanVersion);
  out.set_schedule(schedule_text(plan.schedule));
  // Written only where it says something: plans that do not shard stay readable by older builds.
  if (plan.shard_optimizer) out.set_shard_optimizer(true);
  for (const ReplicaPlan& replica : plan.replicas) {
    proto::Replica& added = *out.add_replica();
    added.set_share(replica.share);
    added.set_grains_per_micro_batch(replica.grains_per_micro_batch);
    if (replica.under_way > 0) added.set_under_way(replica.under_way);
    for (const StagePlan& stage : replica.stages) put_stage(stage, *added.add_stage());
  }
  if (plan.prediction) {
    proto::Prediction& prediction = *out.mutable_prediction();
    prediction.set_step_seconds(plan.prediction->step_seconds);
    prediction.set_bubble(plan.prediction->bubble);
    for (const int64_t bytes : plan.prediction->peak_bytes) prediction.add_peak_bytes(bytes);
    prediction.set_bottleneck(plan.prediction->bottleneck);
  }
  return print(out);
}

}  // namespace kente
