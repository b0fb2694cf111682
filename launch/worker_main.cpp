// kente-worker: everything that computes. Started by mpirun, or alone for one rank.
#include <ATen/core/Tensor.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>

#include "comm/local.h"
#include "comm/mpi.h"
#include "csrc/base/errors.h"
#include "csrc/base/failpoint.h"
#include "csrc/base/hash.h"
#include "csrc/base/log_file.h"
#include "csrc/config/parse.h"
#include "csrc/train/gather.h"
#include "csrc/train/generate.h"
#include "csrc/train/prepare_process.h"
#include "csrc/train/recovery.h"
#include "launch/command_line.h"
#include "launch/heartbeat.h"
#include "launch/worker_bench.h"
#include "launch/worker_train.h"

namespace kente {
namespace {

struct SampleFlags {
  std::string run, prompt;
  GenerateOptions options;
};

/// Rank and size as the launcher tells them; 0 and 1 without a launcher.
struct Launched {
  bool by_mpirun = false;
  int rank = 0, size = 1;
};

Launched launcher() {
  const char* size = ::getenv("OMPI_COMM_WORLD_SIZE");
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK"})
    if (const char* rank = ::getenv(name)) {
      const int number = std::atoi(rank);
      return {.by_mpirun = true, .rank = number, .size = size ? std::atoi(size) : number + 1};
    }
  return {};
}

/// mpirun gives its ranks a terminal of their own, so whether people watch shows only at mpirun's
/// own output.
bool output_is_terminal(const Launched& launched) {
  if (!launched.by_mpirun) return ::isatty(STDOUT_FILENO) == 1;
  const std::string path = "/proc/" + std::to_string(::getppid()) + "/fd/1";
  const int fd = ::open(path.c_str(), O_WRONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return false;
  const bool terminal = ::isatty(fd) == 1;
  ::close(fd);
  return terminal;
}

std::string own_digest() {
  std::string bytes;
  const std::string path = std::filesystem::read_symlink("/proc/self/exe").string();
  const auto file = posix_file_system()->open(path);
  bytes.resize(static_cast<size_t>(file->size()));
  file->read_at(0, bytes.data(), file->size());
  return hex64(xxh3_64(bytes.data(), bytes.size()));
}

/// SIGINT and SIGTERM are taken between steps: the first one stops the run after the step, a second
/// one ends the process.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGINT);
    sigaddset(&set_, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }
  bool pending() {
    const timespec now{};
    if (!stopped_ && ::sigtimedwait(&set_, nullptr, &now) > 0) {
      stopped_ = true;
      ::pthread_sigmask(SIG_UNBLOCK, &set_, nullptr);
    }
    return stopped_;
  }

 private:
  sigset_t set_{};
  bool stopped_ = false;
};

std::unique_ptr<Communicator> make_world(const Launched& launched,
                                         std::optional<MpiSession>& session) {
  if (!launched.by_mpirun) return make_single();
  session.emplace(nullptr, nullptr);
  return session->world();
}

std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value ? value : "";
}

/// Limits on this process that people set, for what is measured under them.
std::string own_limits() { return environment("KENTE_THROTTLE"); }

/// Where this machine keeps what outlives a process but not the machine.
std::string shared_memory() {
  const std::string directory = environment("KENTE_SHM_DIRECTORY");
  return directory.empty() ? "/dev/shm" : directory;
}

/// Tests end and freeze processes; nothing happens in a build without failpoints.
void arm_own_failpoints(const Launched& launched) {
  const std::string incarnation = environment("KENTE_INCARNATION");
  arm_failpoints({.failpoints = environment("KENTE_FAILPOINTS"),
                  .log = environment("KENTE_FAILPOINTS_LOG"),
                  .rank = launched.rank,
                  .incarnation = incarnation.empty() ? 0 : std::stoll(incarnation)});
}

/// Of a rank that ends because another one failed: the other's.
ExitStatus status_of(const std::exception& failure) {
  const auto* peer = dynamic_cast<const PeerStopped*>(&failure);
  return peer ? peer->status() : exit_status(failure);
}

ExitStatus train_recipe(TrainFlags flags, const Launched& launched) {
  const Recipe recipe = resolve_recipe(flags);
  if (flags.print_config) {
    if (launched.rank == 0) std::printf("%s", to_text(recipe).c_str());
    return ExitStatus::kDone;
  }
  arm_own_failpoints(launched);
  StopSignals signals;
  ProgressBoard board;
  // Before MPI starts, where a rank may hang too.
  const auto heartbeat = Heartbeat::start(board, launched.rank, launched.size);
  const auto want_stop = [&] {
    return signals.pending() || (heartbeat && heartbeat->stop_ordered());
  };
  try {
    std::optional<MpiSession> session;
    const std::unique_ptr<Communicator> world = make_world(launched, session);
    if (heartbeat && !environment("KENTE_STANDBY").empty()) {
      at::mm(at::ones({8, 8}), at::ones({8, 8}));  // loads the rest of MKL
      if (!heartbeat->stand_by()) return ExitStatus::kPeer;
    }
    const ExitStatus status = run_train(flags, recipe,
                                        {.build_id = own_digest(),
                                         .limits = own_limits(),
                                         .terminal = output_is_terminal(launched),
                                         .want_stop = want_stop,
                                         .board = &board,
                                         .shared_memory = shared_memory(),
                                         .supervised = heartbeat != nullptr},
                                        *world);
    if (heartbeat) heartbeat->goodbye(static_cast<int>(status));
    return status;
  } catch (const std::exception& failure) {
    if (heartbeat) heartbeat->goodbye(static_cast<int>(status_of(failure)));
    throw;
  }
}

ExitStatus bench_or_compare(const BenchFlags& flags, const Launched& launched) {
  if (!flags.compare.empty())
    return launched.rank == 0 ? compare_clusters(flags) : ExitStatus::kDone;
  std::optional<MpiSession> session;
  const std::unique_ptr<Communicator> world = make_world(launched, session);
  return run_bench(
      flags,
      {.build_id = own_digest(), .limits = own_limits(), .terminal = output_is_terminal(launched)},
      *world);
}

ExitStatus run_sample(const SampleFlags& flags) {
  const Recipe recipe = load_recipe(flags.run + "/recipe.textproto");
  const auto world = make_single();
  const auto files = posix_file_system();
  const auto log = null_log();
  const Mesh mesh = make_mesh(recipe, even_plan(recipe, 1, 1), 1);
  Parameters parameters(recipe.model, mesh.layers_of(0), recipe.numerics.compute);
  Recovery recovery(mesh, *world, *files, *log, {.run_directory = flags.run, .snapshots = ""}, 60);
  HostState state(parameters);
  const auto restored = recovery.restore(recipe_sha256(recipe), state);
  if (!restored) throw UsageError(flags.run + ": no complete checkpoint in it");
  std::vector<int32_t> prompt;
  std::istringstream words(flags.prompt);
  for (std::string token; words >> token;) prompt.push_back(std::stoi(token));
  const nlohmann::json line = {
      {"step", restored->moment.step},
      {"tokens", generate(recipe, parameters, std::move(prompt), flags.options)}};
  std::printf("%s\n", line.dump().c_str());
  return ExitStatus::kDone;
}

void add_sample(Command& app, SampleFlags& flags) {
  app.option("--run", flags.run, "run directory").required();
  app.option("--tokens", flags.prompt, "token ids of the prompt, separated by spaces").required();
  app.option("--count", flags.options.count, "tokens to add");
  app.option("--temperature", flags.options.temperature, "0: the likeliest token").not_negative();
  app.option("--top-k", flags.options.top_k, "0: all tokens");
  app.option("--end-token", flags.options.end_token, "stop after it");
  app.option("--seed", flags.options.seed, "of the draw");
}

ExitStatus run(int argc, char** argv, const Launched& launched) {
  CommandLine app("kente-worker: trains and samples; users call it through kente", "kente-worker");
  TrainFlags train_flags;
  SampleFlags sample_flags;
  BenchFlags bench_flags;
  Command train = app.command("train", "train a recipe");
  Command sample = app.command("sample", "continue a prompt of token ids");
  Command bench = app.command("bench", "measure devices and links");
  add_train(train, train_flags);
  add_sample(sample, sample_flags);
  add_bench(bench, bench_flags);
  if (app.asks_for_help(argc, argv,
                        std::string("see kente ") + (argc > 1 ? argv[1] : "train") + " --help",
                        launched.rank == 0 ? Help::kPrinted : Help::kSilent))
    return ExitStatus::kDone;
  prepare_process();
  if (bench.given()) return bench_or_compare(bench_flags, launched);
  return train.given() ? train_recipe(train_flags, launched) : run_sample(sample_flags);
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) {
  const kente::Launched launched = kente::launcher();
  try {
    return static_cast<int>(kente::run(argc, argv, launched));
  } catch (const kente::PeerStopped& peer) {
    return static_cast<int>(peer.status());
  } catch (const std::exception& failure) {
    // The same wrong flag or recipe fails on every rank: one line is enough.
    const kente::ExitStatus status = kente::exit_status(failure);
    if (launched.rank == 0 || status != kente::ExitStatus::kUsage)
      std::fprintf(stderr, "kente: %s\n", failure.what());
    return static_cast<int>(status);
  }
}
