#include "csrc/train/trainer.h"

#include <fmt/format.h>

#include <optional>

#include "csrc/base/clock.h"
#include "csrc/config/parse.h"
#include "csrc/train/environment.h"
#include "csrc/train/gather.h"
#include "csrc/train/rebalance.h"
#include "csrc/train/start_up.h"
#include "csrc/train/training_run.h"

namespace kente {
namespace {

/// The plan that rank 0 wants, with the profile it was made from; returns the gain it promises. A
/// collective.
double take_new_plan(Rebalance* rebalance, TrainOptions& options, Communicator& world) {
  std::string plan, cluster;
  double gain = 0;
  if (rebalance) {
    const Rebalance::Change change = rebalance->take();
    plan = to_text(change.plan);
    cluster = to_text(change.cluster);
    gain = change.gain;
  }
  const Deadline deadline = Deadline::after_seconds(options.timeout_seconds);
  plan = all_gather_text(world, plan, deadline).front();
  cluster = all_gather_text(world, cluster, deadline).front();
  options.plan = parse_plan(plan, "rank 0's new plan", options.recipe);
  options.cluster = parse_cluster(cluster, "rank 0's profile", options.recipe);
  options.start = StartMode::kResume;
  return gain;
}

}  // namespace

TrainResult train(const TrainOptions& options, Communicator& world, FileSystem& files, Log& log) {
  const Deadline deadline = Deadline::after_seconds(options.timeout_seconds);
  agree_on_everything(options, world, deadline);
  together(
      world, [&] { check_run_directory(options, files); }, deadline);
  TrainOptions resolved = options;
  resolved.recipe = resolve_sources(options, world, deadline);
  std::optional<Rebalance> rebalance;  // rank 0's
  if (options.rebalance && options.cluster && world.rank() == 0)
    rebalance.emplace(resolved.recipe, options.state_copies, log);
  Rebalance* const looking = rebalance ? &*rebalance : nullptr;
  std::optional<TrainResult> result;
  std::optional<int64_t> resumed_from;
  for (double gain = 0; !result;) {
    {
      const int64_t begin = now_ns();
      // Later than the check on every rank: ranks may share the directory.
      TrainingRun run(resolved, world, files, log, looking);
      const double seconds = seconds_since(begin);
      if (looking) looking->cost(seconds);
      if (resumed_from)
        run.tell(
            "rebalance", run.resumed_from(),
            fmt::format("the new plan should be {:.2f}x as fast; took {:.2f} s", gain, seconds));
      if (!resumed_from) resumed_from = run.resumed_from();
      result = run.run();
    }
    if (!result) gain = take_new_plan(looking, resolved, world);
  }
  result->resumed_from = *resumed_from;
  return *result;
}

}  // namespace kente
