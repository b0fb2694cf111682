#include "launch/worker_train.h"

#include <array>
#include <cstdio>

#include "comm/mpi.h"
#include "csrc/base/file_system.h"
#include "csrc/base/log_file.h"
#include "csrc/ckpt/snapshot.h"
#include "csrc/config/imitation.h"
#include "csrc/config/parse.h"
#include "csrc/measure/host.h"
#include "csrc/plan/describe.h"
#include "csrc/plan/describe_choice.h"
#include "csrc/train/trainer.h"
#include "launch/choose_plan.h"
#include "launch/command_line.h"

namespace kente {
namespace {

void print_result(const TrainFlags& flags, const TrainResult& result) {
  if (result.step == result.resumed_from) {
    std::printf("step %lld was the last one, nothing is left to train; parameters %s\n",
                static_cast<long long>(result.step), result.parameters_sha256.c_str());
  } else {
    std::printf("step %lld, loss %.4f, parameters %s\n", static_cast<long long>(result.step),
                static_cast<double>(result.loss), result.parameters_sha256.c_str());
  }
  if (result.stopped)
    std::printf("stopped by order; continue with: kente train --resume --out %s\n",
                flags.out.c_str());
}

/// Steps between snapshots: each one, where somebody starts the run again when a rank dies.
int64_t snapshot_every(const TrainFlags& flags, const TrainProcess& process) {
  return flags.snapshot_every >= 0 ? flags.snapshot_every : process.supervised;
}

PlanRequest request_of(const TrainFlags& flags, const Recipe& recipe, const TrainProcess& process,
                       RankDevice& device) {
  PlanRequest request;
  request.plan = flags.plan;
  request.cluster = flags.cluster;
  request.stages = flags.stages;
  request.resume = flags.resume;
  request.replan = flags.replan;
  request.snapshots = snapshot_every(flags, process) > 0;
  request.peer_copies = flags.snapshot_copy_every > 0;
  request.run_directory = flags.out;
  request.bench.recipe = recipe;
  request.bench.out_directory = flags.out;
  if (!flags.imitate.empty()) request.bench.imitation = load_imitation(flags.imitate);
  request.bench.build_id = process.build_id;
  request.bench.mpi_version = mpi_library();
  request.bench.limits = process.limits;
  request.bench.timeout_seconds = flags.timeout;
  request.bench.ops = &device.ops();
  request.bench.tensors = device.tensors();
  request.bench.gpu = device.gpu();
  return request;
}

/// Measuring takes a while: says what it is at.
void show_measuring(const std::string& what, bool terminal) {
  std::printf(terminal ? "\r\033[Kmeasuring: %s" : "measuring: %s\n", what.c_str());
  std::fflush(stdout);
}

void print_plan(const Recipe& recipe, const ChosenPlan& chosen, int ranks) {
  std::printf("%s\n", chosen.how.c_str());
  if (chosen.cluster) {
    const CostModel model(recipe, *chosen.cluster, chosen.state_copies);
    std::printf("%s\n", describe_cost(model, chosen.plan, predict(model, chosen.plan)).c_str());
  } else {
    std::printf("%s\n",
                describe(recipe, chosen.plan, make_mesh(recipe, chosen.plan, ranks)).c_str());
  }
  std::fflush(stdout);
}

}  // namespace

Recipe resolve_recipe(TrainFlags& flags) {
  if (flags.recipe.empty()) {
    if (!flags.resume || flags.out.empty())
      throw UsageError("--recipe: missing; name one, or continue a run with --resume --out RUN");
    flags.recipe = flags.out + "/recipe.textproto";
  }
  Recipe recipe = load_recipe(flags.recipe, flags.overrides);
  if (flags.out.empty()) flags.out = "runs/" + recipe.name;
  return recipe;
}

ExitStatus run_train(const TrainFlags& flags, const Recipe& recipe, const TrainProcess& process,
                     Communicator& ranks) {
  RankDevice device(ranks, read_host("").name, choices_of(flags.device, flags.timeout),
                    recipe.model);
  Communicator& world = device.world();
  const bool tells = world.rank() == 0 && !flags.quiet;
  const auto files = posix_file_system();
  files->make_directories(flags.out + "/logs");
  std::array<char, 16> number{};
  std::snprintf(number.data(), number.size(), "%04d", world.rank());
  const auto log = open_log(flags.out + "/logs/rank-" + number.data() + ".log", world.rank());
  PlanRequest request = request_of(flags, recipe, process, device);
  if (tells)
    request.bench.progress = [&](const std::string& what) {
      show_measuring(what, process.terminal);
    };
  const ChosenPlan chosen = choose_plan(request, world, *files, *log);
  if (tells && process.terminal) std::printf("\r\033[K");
  if (tells) print_plan(recipe, chosen, world.size());
  TrainOptions options;
  options.recipe = recipe;
  options.plan = chosen.plan;
  options.cluster = chosen.cluster;
  options.rebalance = chosen.planned && !flags.keep_plan;
  options.data_directory = flags.data;
  options.run_directory = flags.out;
  options.start = flags.resume ? StartMode::kResume : StartMode::kFresh;
  options.checkpoint_every = flags.checkpoint_every >= 0 ? flags.checkpoint_every
                                                         : std::max<int64_t>(1, recipe.steps / 10);
  options.keep_checkpoints = flags.keep;
  options.checkpoint_to = flags.checkpoint_to;
  options.background_checkpoints = !flags.checkpoint_wait;
  options.snapshots = snapshot_directory(process.shared_memory, flags.out);
  options.snapshot_every = snapshot_every(flags, process);
  options.snapshot_copy_every = flags.snapshot_copy_every;
  options.state_copies = chosen.state_copies;
  options.check_replicas_every = flags.check_replicas_every;
  options.timeout_seconds = flags.timeout;
  options.ops = &device.ops();
  options.tensors = device.tensors();
  options.device = request.bench.gpu.name;
  options.build_id = process.build_id;
  options.imitation = request.bench.imitation;
  options.want_stop = process.want_stop;
  options.board = process.board;
  if (!flags.quiet)
    options.progress = process.terminal ? Progress::Output::kTerminal : Progress::Output::kPipe;
  const TrainResult result = train(options, world, *files, *log);
  if (world.rank() == 0) print_result(flags, result);
  return result.stopped ? ExitStatus::kStopped : ExitStatus::kDone;
}

void add_train(Command& app, TrainFlags& flags) {
  app.option("--recipe", flags.recipe, "what to train (protobuf text)");
  app.option("--plan", flags.plan,
             "who does what (protobuf text), or 'even'; without it the ranks are measured");
  app.option("--cluster", flags.cluster,
             "profile that kente bench wrote: plan from it in place of measuring");
  app.option("--data", flags.data, "where the recipe's sources are").show_default();
  app.option("--out", flags.out, "run directory (default runs/<recipe>)");
  app.option("--set", flags.overrides, "field=value: override a recipe field; repeatable");
  app.option("--stages", flags.stages, "pipeline length of the even plan").between(1, 1 << 20);
  app.option("--checkpoint-every", flags.checkpoint_every,
             "steps between checkpoints; 0: only at the end and where the guards want one "
             "(default: a tenth of the run)");
  app.option("--checkpoint-to", flags.checkpoint_to,
             "directory that gets a copy of every checkpoint: a second disk, another site; "
             "repeatable");
  app.flag("--checkpoint-wait", flags.checkpoint_wait,
           "training waits until a checkpoint is stored, in place of going on from a copy");
  app.option("--keep", flags.keep, "checkpoints to keep").show_default().between(1, 1 << 20);
  app.option("--snapshot-every", flags.snapshot_every,
             "steps between snapshots in memory, from which a run that died goes on; 0: none "
             "(default: 1 under kente launch, else 0)");
  app.option("--snapshot-copy-every", flags.snapshot_copy_every,
             "steps between copies of snapshots in another node's memory; 0: none")
      .show_default()
      .between(0, 1 << 30);
  app.option("--check-replicas-every", flags.check_replicas_every,
             "steps between comparisons of the bits that several ranks hold; 0: never")
      .show_default()
      .not_negative();
  add_device(app, flags.device);
  app.option("--timeout", flags.timeout, "seconds after which a silent peer is lost")
      .show_default()
      .positive();
  app.option("--imitate", flags.imitate, "devices that wait instead (protobuf text)");
  app.flag("--resume", flags.resume, "continue from the newest complete checkpoint");
  app.flag("--replan", flags.replan, "with --resume: plan anew from what the run's steps measured");
  app.flag("--keep-plan", flags.keep_plan,
           "no other plan on the way, whatever ranks turn out slower or faster");
  app.flag("--print-config", flags.print_config, "print the resolved recipe and leave");
  app.flag("--quiet", flags.quiet, "no progress");
}

}  // namespace kente
