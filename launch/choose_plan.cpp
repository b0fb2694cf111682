#include "launch/choose_plan.h"

#include <fmt/format.h>

#include <filesystem>
#include <functional>
#include <set>

#include "csrc/base/errors.h"
#include "csrc/base/hash.h"
#include "csrc/config/parse.h"
#include "csrc/measure/facts.h"
#include "csrc/plan/mesh.h"
#include "csrc/plan/planner.h"
#include "csrc/train/gather.h"

namespace kente {
namespace {

class Chooser {
 public:
  Chooser(const PlanRequest& request, Communicator& world, FileSystem& files, Log& log)
      : request_(request), world_(world), files_(files), log_(log) {}

  ChosenPlan choose() {
    const bool planned = request_.plan.empty() && request_.stages == 0;
    if (!request_.plan.empty() && request_.plan != "even") return from_file();
    if (!planned) return even();
    if (request_.resume)
      if (std::optional<ChosenPlan> kept = of_the_run()) return std::move(*kept);
    if (!request_.cluster.empty())
      return plan_for(told_cluster([&] { return load(request_.cluster); }).value(),
                      "planned from " + request_.cluster);
    return plan_for(measured(), how_measured_);
  }

 private:
  const Recipe& recipe() const { return request_.bench.recipe; }
  Deadline deadline() const { return Deadline::after_seconds(request_.bench.timeout_seconds); }
  bool leads() const { return world_.rank() == 0; }

  /// What rank 0 says; if it fails, everybody stops.
  std::string told(const std::function<std::string()>& say) {
    std::string text;
    together(
        world_,
        [&] {
          if (leads()) text = say();
        },
        deadline());
    return all_gather_text(world_, text, deadline()).front();
  }

  Plan told_plan(const std::function<Plan()>& say) {
    return parse_plan(told([&] { return to_text(say()); }), "the plan", recipe());
  }

  /// Empty when rank 0 has none.
  std::optional<ClusterProfile> told_cluster(
      const std::function<std::optional<ClusterProfile>()>& say) {
    const std::string text = told([&] {
      const std::optional<ClusterProfile> cluster = say();
      return cluster ? to_text(*cluster) : std::string();
    });
    if (text.empty()) return std::nullopt;
    return parse_cluster(text, "the cluster profile", recipe());
  }

  ClusterProfile load(const std::string& path) const {
    ClusterProfile cluster = load_cluster(path, recipe());
    if (cluster.num_ranks() != world_.size())
      throw UsageError(path + ": a profile of " + std::to_string(cluster.num_ranks()) +
                       " ranks, but " + std::to_string(world_.size()) +
                       " were started: start as many, or measure again with kente bench");
    for (const DeviceProfile& device : cluster.devices)
      if (device.count != 1)
        throw UsageError(path + ": device \"" + device.id + "\" stands for " +
                         std::to_string(device.count) +
                         " ranks; a run wants an entry for each: measure it with kente bench");
    return cluster;
  }

  /// A profile in a file of ours that may be missing, old or for other ranks: then none.
  std::optional<ClusterProfile> load_if_it_fits(const std::string& path) const {
    if (!files_.exists(path)) return std::nullopt;
    try {
      return load(path);
    } catch (const UsageError& error) {
      log_.info(std::string("not used: ") + error.what());
      return std::nullopt;
    }
  }

  ChosenPlan from_file() {
    ChosenPlan chosen;
    chosen.plan = told_plan([&] { return load_plan(request_.plan, recipe()); });
    if (!request_.cluster.empty())
      chosen.cluster = told_cluster([&] { return load(request_.cluster); });
    chosen.how = "plan from " + request_.plan;
    return chosen;
  }

  ChosenPlan even() {
    ChosenPlan chosen;
    chosen.plan = request_.stages > 0 ? even_plan(recipe(), world_.size(), request_.stages)
                                      : even_plan(recipe(), world_.size());
    chosen.how = "the even plan: as if all ranks were alike";
    return chosen;
  }

  /// The plan of the run that is resumed, or with replan one for what its steps measured. Empty
  /// when other ranks are there than it names.
  std::optional<ChosenPlan> of_the_run() {
    const std::string path = request_.run_directory + "/plan.textproto";
    const std::string text = told([&]() -> std::string {
      if (!files_.exists(path)) return "";
      const Plan plan = load_plan(path, recipe());
      size_t named = 0;
      for (const ReplicaPlan& replica : plan.replicas) named += replica.stages.size();
      return named == static_cast<size_t>(world_.size()) ? to_text(plan) : "";
    });
    if (text.empty()) return std::nullopt;
    ChosenPlan chosen{.plan = parse_plan(text, path, recipe()),
                      .cluster = std::nullopt,
                      .how = "the run's own plan"};
    std::optional<ClusterProfile> cluster = told_cluster([&] {
      auto found = load_if_it_fits(request_.run_directory + "/cluster.measured.textproto");
      return found ? found : load_if_it_fits(request_.run_directory + "/cluster.textproto");
    });
    if (!cluster || !still_holds(*cluster, request_.bench, world_)) return chosen;
    if (request_.replan)
      return plan_for(std::move(*cluster), "planned anew from what the run's steps measured");
    chosen.state_copies = state_copies(*cluster);
    chosen.cluster = std::move(cluster);
    chosen.planned = true;
    return chosen;
  }

  int state_copies(const ClusterProfile& cluster) const {
    if (!request_.snapshots) return 0;
    std::set<std::string> nodes;
    for (const DeviceProfile& device : cluster.devices) nodes.insert(device.node);
    return request_.peer_copies && nodes.size() > 1 ? kSnapshotCopiesOnNodes : kSnapshotCopies;
  }

  /// Beside the run directories, one file for each shape of layers and number of ranks.
  std::string cache_path() const {
    ClusterProfile shape;
    shape.measured = measured_layers(recipe());
    const std::string key =
        to_text(shape) + types_of(recipe().numerics) + std::to_string(world_.size());
    const std::filesystem::path runs = std::filesystem::path(request_.run_directory).parent_path();
    return (runs / ".clusters" / (sha256_hex(key).substr(0, 16) + ".textproto")).string();
  }

  ClusterProfile measured() {
    const std::string path = cache_path();
    std::optional<ClusterProfile> cached = told_cluster([&] { return load_if_it_fits(path); });
    if (cached && still_holds(*cached, request_.bench, world_)) {
      how_measured_ = "planned from " + path + ", measured before";
      return std::move(*cached);
    }
    Measurement now = measure_cluster(request_.bench, world_, files_, log_);
    together(
        world_,
        [&] {
          if (!leads()) return;
          files_.make_directories(std::filesystem::path(path).parent_path().string());
          write_text_file(files_, path, to_text(now.cluster));
        },
        deadline());
    for (const Finding& finding : now.findings)
      if (leads() && finding.severity == Severity::kWarn)
        log_.warn(finding.what + "; " + finding.what_to_do);
    how_measured_ = fmt::format("planned from {}, measured in {:.1f} s", path, now.seconds);
    return std::move(now.cluster);
  }

  ChosenPlan plan_for(ClusterProfile cluster, const std::string& how) {
    ChosenPlan chosen;
    const int wanted = state_copies(cluster);
    chosen.state_copies = wanted;
    chosen.plan = told_plan([&] {
      PlanResult result = make_plan(CostModel(recipe(), cluster, wanted), {});
      if (result.finalists.empty() && wanted > 0) {
        chosen.state_copies = 0;
        log_.warn("no plan leaves memory for snapshots: " + result.nothing_fits);
        result = make_plan(CostModel(recipe(), cluster), {});
      }
      if (result.finalists.empty()) throw UsageError(result.nothing_fits);
      Candidate& best = result.finalists.front();
      best.plan.prediction = prediction_of(best.cost);
      return best.plan;
    });
    chosen.cluster = std::move(cluster);
    chosen.how = how;
    if (chosen.state_copies < wanted) chosen.how += "; no memory is left for snapshots";
    chosen.planned = true;
    return chosen;
  }

  const PlanRequest& request_;
  Communicator& world_;
  FileSystem& files_;
  Log& log_;
  std::string how_measured_;
};

}  // namespace

ChosenPlan choose_plan(const PlanRequest& request, Communicator& world, FileSystem& files,
                       Log& log) {
  return Chooser(request, world, files, log).choose();
}

}  // namespace kente
