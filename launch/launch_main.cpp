/// kente launch -n N [--hostfile FILE] [TRAIN ARGUMENT...]
/// Keeps a run alive: kente train under mpirun, started again when a rank dies or hangs.
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "csrc/base/errors.h"
#include "csrc/ckpt/snapshot.h"
#include "csrc/config/parse.h"
#include "launch/command_line.h"
#include "launch/program.h"
#include "launch/supervisor.h"

namespace kente {
namespace {

/// A shell would read it as it is.
std::string quoted(const std::string& word) {
  constexpr const char* kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

struct Flags {
  LaunchOptions options;
  std::string recipe, out, hostfile;
  bool help = false;
  std::vector<std::string> overrides;
  bool print_command = false;
};

void add_machines(Command& app, Flags& flags) {
  LaunchOptions& options = flags.options;
  app.option("-n", options.mpirun.ranks, "ranks (default: the hosts' slots)").between(1, 1 << 20);
  app.option("--hostfile", flags.hostfile,
             "machines and slots, in Open MPI's form; one that does not answer or keeps failing "
             "is left out until it answers")
      .existing_file();
  app.option("--host-timeout", options.host_seconds, "seconds for a machine to answer")
      .show_default()
      .positive();
  app.option("--host-retry", options.host_retry,
             "seconds until a machine that was left out is asked again; later and later")
      .show_default()
      .positive();
  app.option("--mpirun", options.mpirun.mpirun, "the mpirun to use").show_default();
  app.option("--control-address", options.control_host,
             "private address of this machine that ranks elsewhere can reach")
      .show_default();
}

Flags parse(int argc, char** argv) {
  CommandLine app("kente launch: keeps a run alive; takes kente train's arguments too",
                  "kente launch");
  Flags flags;
  LaunchOptions& options = flags.options;
  add_machines(app, flags);
  app.option("--max-failures", options.max_failures,
             "starts in a row that may finish no step before it gives up")
      .show_default()
      .between(0, 1 << 20);
  app.option("--silence", options.limits.silence,
             "seconds without a heartbeat after which a rank is dead")
      .show_default()
      .positive();
  app.option("--stuck", options.limits.stuck,
             "seconds in one phase after which a rank hangs; at least ten times what it takes")
      .show_default()
      .positive();
  app.option("--patience", options.limits.patience, "seconds for starting, storing and validating")
      .show_default()
      .positive();
  app.flag("--standby", options.standby,
           "keep a second set of ranks that have everything loaded, to take over when one of "
           "those that train fails: about 80 MB of memory a rank");
  app.option("--chaos", options.chaos.seed,
             "disturb the run on purpose, as this seed says: ranks are killed, frozen and "
             "slowed, bits of snapshots and checkpoints flipped; judged at the end");
  app.option("--chaos-every", options.chaos.between, "seconds between two faults, on average")
      .show_default()
      .positive();
  app.flag("--print-command", flags.print_command, "print the mpirun line and leave");
  app.option("--recipe", flags.recipe, "what to train (protobuf text)");
  app.option("--out", flags.out, "run directory (default runs/<recipe>)");
  app.option("--set", flags.overrides, "field=value: override a recipe field; repeatable");
  app.flag("--resume", options.resume, "continue the run in --out");
  app.allow_others();
  app.footer("All other arguments are kente train's: see kente train --help.");
  flags.help = app.asks_for_help(argc, argv);
  options.mpirun.train_args = app.others();
  return flags;
}

/// Fills in where the run goes, and checks what can be checked before anything is started.
void resolve(Flags& flags) {
  LaunchOptions& options = flags.options;
  if (flags.hostfile.empty() && options.mpirun.ranks == 0)
    throw UsageError("-n: missing; say how many ranks, or name machines with --hostfile");
  if (!flags.hostfile.empty()) options.mpirun.hosts = load_hostfile(flags.hostfile);
  int slots = 0;
  for (const Host& host : options.mpirun.hosts) slots += host.slots;
  if (slots > 0 && options.mpirun.ranks > slots)
    throw UsageError("-n " + std::to_string(options.mpirun.ranks) + ": " + flags.hostfile +
                     " has " + std::to_string(slots) +
                     " slots; ask for fewer ranks, or give it more");
  if (flags.recipe.empty() && (!options.resume || flags.out.empty()))
    throw UsageError("--recipe: missing; name one, or continue a run with --resume --out RUN");
  if (flags.out.empty()) flags.out = "runs/" + load_recipe(flags.recipe, flags.overrides).name;
  if (!options.resume && std::filesystem::exists(flags.out + "/run.jsonl"))
    throw UsageError(flags.out +
                     ": holds a run already: continue it with --resume, or name another --out");
  options.run_directory = flags.out;
  const char* shared_memory = ::getenv("KENTE_SHM_DIRECTORY");
  options.snapshots = snapshot_directory(shared_memory ? shared_memory : "/dev/shm", flags.out);
  std::vector<std::string> told = {"--out", flags.out};
  if (!flags.recipe.empty()) told.insert(told.end(), {"--recipe", flags.recipe});
  for (const std::string& override_text : flags.overrides)
    told.insert(told.end(), {"--set", override_text});
  options.mpirun.train_args.insert(options.mpirun.train_args.begin(), told.begin(), told.end());
  options.mpirun.worker =
      (std::filesystem::read_symlink("/proc/self/exe").parent_path() / "kente-worker").string();
}

int run(int argc, char** argv) {
  Flags flags = parse(argc, argv);
  if (flags.help) return static_cast<int>(ExitStatus::kDone);
  resolve(flags);
  if (flags.print_command) {
    std::string line;
    for (const std::string& word : mpirun_command(
             flags.options.mpirun, HostPool(flags.options.mpirun.hosts, flags.options.mpirun.ranks),
             flags.options.resume))
      line += (line.empty() ? "" : " ") + quoted(word);
    std::printf("%s\n", line.c_str());
    return static_cast<int>(ExitStatus::kDone);
  }
  return static_cast<int>(supervise(flags.options));
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) {
  return kente::program_main("kente launch", kente::run, argc, argv);
}
