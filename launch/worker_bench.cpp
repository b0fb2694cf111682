#include "launch/worker_bench.h"

#include <array>
#include <cstdio>
#include <filesystem>

#include "comm/mpi.h"
#include "csrc/base/file_system.h"
#include "csrc/base/log_file.h"
#include "csrc/config/parse.h"
#include "csrc/measure/bench.h"
#include "csrc/measure/host.h"
#include "csrc/report/cluster_report.h"
#include "csrc/train/gather.h"
#include "launch/command_line.h"

namespace kente {
namespace {

/// One line that is written over on a terminal, lines in a pipe; beside the output, which may be
/// JSON.
void show_progress(const std::string& what, bool terminal) {
  std::fprintf(stderr, terminal ? "\r\033[Kbench: %s" : "bench: %s\n", what.c_str());
  std::fflush(stderr);
}

/// What tells two files apart, shortest first: name, directory, path.
std::array<std::string, 2> short_names(const std::string& a, const std::string& b) {
  const std::filesystem::path first(a), second(b);
  if (first.filename() != second.filename())
    return {first.filename().string(), second.filename().string()};
  const std::filesystem::path in_a = first.parent_path().filename();
  const std::filesystem::path in_b = second.parent_path().filename();
  if (in_a != in_b && !in_a.empty() && !in_b.empty()) return {in_a.string(), in_b.string()};
  return {a, b};
}

}  // namespace

void add_bench(Command& app, BenchFlags& flags) {
  app.option("--recipe", flags.recipe, "whose layers are measured (protobuf text)");
  app.option("--set", flags.overrides, "field=value: override a recipe field; repeatable");
  app.option("--out", flags.out,
             "where cluster.textproto and bench.html go; with --compare the page's file")
      .show_default();
  app.flag("--full", flags.full, "take up to 3 minutes instead of 20 seconds");
  app.option("--imitate", flags.imitate, "devices that wait instead (protobuf text)");
  app.flag("--json", flags.json, "print JSON instead of tables");
  app.option("--compare", flags.compare, "A B: two profiles side by side; measures nothing")
      .words(2);
  add_device(app, flags.device);
  app.option("--timeout", flags.timeout, "seconds after which a silent peer is lost")
      .show_default()
      .positive();
}

ExitStatus run_bench(const BenchFlags& flags, const BenchProcess& process, Communicator& ranks) {
  if (flags.recipe.empty()) throw UsageError("--recipe: missing; name the recipe to measure for");
  BenchOptions options;
  options.recipe = load_recipe(flags.recipe, flags.overrides);
  RankDevice device(ranks, read_host("").name, choices_of(flags.device, flags.timeout),
                    options.recipe.model);
  Communicator& world = device.world();
  const bool leads = world.rank() == 0;
  options.ops = &device.ops();
  options.tensors = device.tensors();
  options.gpu = device.gpu();
  options.mode = flags.full ? BenchMode::kFull : BenchMode::kQuick;
  options.out_directory = flags.out;
  if (!flags.imitate.empty()) options.imitation = load_imitation(flags.imitate);
  options.build_id = process.build_id;
  options.mpi_version = mpi_library();
  options.limits = process.limits;
  options.timeout_seconds = flags.timeout;
  if (leads)
    options.progress = [&](const std::string& what) { show_progress(what, process.terminal); };
  const auto files = posix_file_system();
  files->make_directories(flags.out + "/logs");
  std::array<char, 16> number{};
  std::snprintf(number.data(), number.size(), "%04d", world.rank());
  const auto log = open_log(flags.out + "/logs/bench-" + number.data() + ".log", world.rank());
  const Measurement measured = measure_cluster(options, world, *files, *log);
  const std::string profile = flags.out + "/cluster.textproto", page = flags.out + "/bench.html";
  together(
      world,
      [&] {
        if (!leads) return;
        write_text_file(*files, profile, to_text(measured.cluster));
        write_text_file(*files, page, cluster_html(measured.cluster, measured.findings));
      },
      Deadline::after_seconds(flags.timeout));
  if (!leads) return ExitStatus::kDone;
  if (process.terminal) std::fputs("\r\033[K", stderr);
  if (flags.json) {
    std::printf("%s\n", cluster_json(measured.cluster, measured.findings).c_str());
  } else {
    std::printf("%s\nmeasured in %.1f s: %s, %s\n",
                cluster_text(measured.cluster, measured.findings).c_str(), measured.seconds,
                profile.c_str(), page.c_str());
  }
  return ExitStatus::kDone;
}

ExitStatus compare_clusters(const BenchFlags& flags) {
  const auto names = short_names(flags.compare.at(0), flags.compare.at(1));
  const NamedCluster a = {names[0], load_cluster(flags.compare[0])};
  const NamedCluster b = {names[1], load_cluster(flags.compare[1])};
  std::printf("%s", compare_text(a, b).c_str());
  if (flags.out.ends_with(".html")) {
    const auto files = posix_file_system();
    write_text_file(*files, flags.out, compare_html(a, b));
    std::printf("\n%s\n", flags.out.c_str());
  }
  return ExitStatus::kDone;
}

}  // namespace kente
