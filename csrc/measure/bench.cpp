#include "csrc/measure/bench.h"

#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include <algorithm>

#include "csrc/base/backoff.h"
#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/base/micro_batch.h"
#include "csrc/config/model_layout.h"
#include "csrc/config/parse.h"
#include "csrc/measure/ceilings.h"
#include "csrc/measure/facts.h"
#include "csrc/measure/gpu_power.h"
#include "csrc/measure/layers.h"
#include "csrc/measure/links.h"
#include "csrc/measure/power.h"
#include "csrc/measure/preflight.h"
#include "csrc/measure/storage.h"
#include "csrc/train/environment.h"
#include "csrc/train/gather.h"

namespace kente {
namespace {

constexpr const char* kPowercap = "/sys/class/powercap";
// Of the GEMM between two polls, some 0.03 ms: waiting for it to end is no cost of the link,
// because a rank that computes does not need the message yet.
constexpr int64_t kBusySide = 96;
constexpr double kMemoryKept = 0.95;  // of what is free; the rest is for the system
constexpr double kLateShare = 0.02;   // of an imitation's time

/// How thoroughly.
struct Effort {
  double layer_seconds = 8, ceiling_seconds = 0.2;
  int most_blocks = 4, fewest_rounds = 5, link_repeats = 7;
  int64_t most_tokens = 2048, storage_bytes = 8 << 20;
};

Effort effort_of(BenchMode mode) {
  if (mode == BenchMode::kQuick) return {};
  return {.layer_seconds = 90,
          .ceiling_seconds = 1,
          .most_blocks = 8,
          .fewest_rounds = 15,
          .link_repeats = 25,
          .most_tokens = 8192,
          .storage_bytes = 128 << 20};
}

ImitatedRank device_of(const BenchOptions& options, int rank) {
  return options.imitation ? options.imitation->rank(rank) : ImitatedRank{};
}

RankFacts own_facts(const BenchOptions& options, int rank) {
  RankFacts facts;
  facts.host = read_host("");
  facts.kind = facts.host.cpu_model + ", 1 thread";
  facts.build = options.build_id;
  facts.libtorch = TORCH_VERSION;
  facts.mpi = options.mpi_version;
  facts.recipe_sha256 = recipe_sha256(options.recipe);
  facts.limits = options.limits;
  if (!options.limits.empty()) facts.kind += ", " + options.limits;
  if (!options.gpu.name.empty()) {
    facts.kind = options.gpu.name;
    facts.gpu = options.gpu.id;
    facts.gpu_bytes = options.gpu.free_bytes;
  }
  if (options.imitation) {
    const ImitatedRank& device = options.imitation->rank(rank);
    facts.imitation = to_text(Imitation{.seed = options.imitation->seed, .ranks = {device}});
    facts.kind = device.kind;
  }
  return facts;
}

/// What one rank may use: its share of what its node, or its GPU, has free, with what it already
/// holds.
int64_t memory_of(const std::vector<RankFacts>& ranks, size_t rank, const ImitatedRank& device) {
  if (device.memory_bytes > 0) return device.memory_bytes;
  const HostFacts& host = ranks[rank].host;
  if (!ranks[rank].gpu.empty()) {
    return static_cast<int64_t>(kMemoryKept * static_cast<double>(ranks[rank].gpu_bytes)) /
           ranks_on_gpu(ranks, rank);
  }
  const int64_t share = host.free_bytes / ranks_on_node(ranks, rank);
  return static_cast<int64_t>(kMemoryKept * static_cast<double>(share)) + host.own_bytes;
}

/// The parts of a bench, in the order in which they run.
class Bench {
 public:
  Bench(const BenchOptions& options, Communicator& world, FileSystem& files, Log& log)
      : options_(options),
        effort_(effort_of(options.mode)),
        world_(world),
        files_(files),
        log_(log) {}

  Measurement run();

 private:
  void preflight();
  DeviceProfile measure_device();
  void measure_layers_of(DeviceProfile& device);
  void measure_power(DeviceProfile& device, const std::function<void()>& work);
  std::vector<DeviceProfile> gather_devices(const DeviceProfile& own);
  std::vector<LinkProfile> measure_all_links();
  std::vector<int64_t> message_sizes() const;
  void say(const std::string& what);
  Deadline deadline() const { return Deadline::after_seconds(options_.timeout_seconds); }
  size_t rank() const { return static_cast<size_t>(world_.rank()); }
  std::string id_of(int rank) const { return "rank-" + std::to_string(rank); }

  const BenchOptions& options_;
  const Effort effort_;
  Communicator& world_;
  FileSystem& files_;
  Log& log_;
  std::vector<RankFacts> facts_;
  std::vector<Finding> findings_;
};

void Bench::say(const std::string& what) {
  log_.info("bench: " + what);
  if (options_.progress) options_.progress(what);
}

void Bench::preflight() {
  say("looking at the machines");
  RankFacts own;
  together(
      world_, [&] { own = own_facts(options_, world_.rank()); }, deadline());
  facts_ = gather_facts(own, world_, deadline());
  findings_ = check_facts(facts_, options_.recipe);
  for (const Finding& finding : findings_)
    if (finding.severity == Severity::kStop)
      throw UsageError(finding.what + "; " + finding.what_to_do);
}

/// Watts while all ranks of the node work and while they do not, this rank's share of them: of its
/// GPU's, or of the processors'.
void Bench::measure_power(DeviceProfile& device, const std::function<void()>& work) {
  EnergyCounter processors(kPowercap);
  GpuEnergy gpu(options_.gpu.bus_id);
  const bool on_gpu = !options_.ops->on_host();
  const auto counted = [&] { return on_gpu ? gpu.joules() : processors.joules(); };
  const auto ranks =
      static_cast<double>(on_gpu ? ranks_on_gpu(facts_, rank()) : ranks_on_node(facts_, rank()));
  const auto watts = [&](int64_t begin) {
    std::optional<double> joules = counted();
    if (joules) *joules /= seconds_since(begin) * ranks;
    return joules;
  };
  world_.barrier(deadline());
  counted();
  const int64_t begin = now_ns();
  work();
  device.busy_watts = watts(begin);
  world_.barrier(deadline());
  if (!device.busy_watts) return;
  const int64_t idle = now_ns();
  while (seconds_since(idle) < 0.5) nap_until(idle + 500'000'000);
  device.idle_watts = watts(idle);
}

/// In every type that the recipe allows, one after the other.
void Bench::measure_layers_of(DeviceProfile& device) {
  const std::vector<DType> dtypes = options_.recipe.numerics.allowed();
  double late = 0;
  for (const DType dtype : dtypes) {
    Recipe recipe = options_.recipe;
    recipe.numerics.compute = dtype;
    const LayerMeasurement layers =
        measure_layers({.recipe = recipe,
                        .memory_bytes = device.memory_bytes,
                        .device = device_of(options_, world_.rank()),
                        .imitation_seed = options_.imitation ? options_.imitation->seed : 1,
                        .most_blocks = effort_.most_blocks,
                        .most_tokens = effort_.most_tokens,
                        .fewest_rounds = effort_.fewest_rounds,
                        .seconds = effort_.layer_seconds / static_cast<double>(dtypes.size()),
                        .timeout_seconds = options_.timeout_seconds,
                        .ops = options_.ops},
                       world_);
    device.curves.insert(device.curves.end(), layers.curves.begin(), layers.curves.end());
    if (dtype == options_.recipe.numerics.compute)
      device.optimizer_seconds_per_parameter = layers.optimizer_seconds_per_parameter;
    late = std::max(late, layers.late);
  }
  if (late > kLateShare)
    log_.warn(
        fmt::format("computing took {:.0f} % longer than the imitated device would: it is "
                    "faster than this machine",
                    100 * late));
}

DeviceProfile Bench::measure_device() {
  DeviceProfile device;
  device.id = id_of(world_.rank());
  device.kind = facts_[rank()].kind;
  device.node = facts_[rank()].host.name;
  device.memory_bytes = memory_of(facts_, rank(), device_of(options_, world_.rank()));
  device.machine_digest = machine_digest(facts_, rank(), options_.recipe);
  say("layers");
  measure_power(device, [&] { measure_layers_of(device); });
  say("ceilings");
  std::vector<DType> dtypes = {DType::kF32};
  for (const DType dtype : options_.recipe.numerics.allowed())
    if (dtype != DType::kF32) dtypes.push_back(dtype);
  for (const DType dtype : dtypes) {
    world_.barrier(deadline());
    device.ceilings.push_back(
        {.compute = dtype,
         .flops_per_second = gemm_flops_per_second(*options_.ops, dtype, effort_.ceiling_seconds)});
  }
  world_.barrier(deadline());
  device.copy_bytes_per_second =
      options_.ops->on_host() ? copy_bytes_per_second(effort_.ceiling_seconds)
                              : copy_bytes_per_second(*options_.ops, effort_.ceiling_seconds);
  say("storage");
  StorageSpeed storage;
  together(
      world_,
      [&] {
        storage = measure_storage(files_, options_.out_directory, ".bench-" + device.id,
                                  effort_.storage_bytes);
      },
      deadline());
  device.storage_bytes_per_second = storage.bytes_per_second;
  device.storage_sync_seconds = storage.sync_seconds;
  return device;
}

/// As profiles of one device each: the text form keeps every bit.
std::vector<DeviceProfile> Bench::gather_devices(const DeviceProfile& own) {
  const ClusterProfile one = {
      .name = "", .measured = measured_layers(options_.recipe), .devices = {own}, .links = {}};
  std::vector<DeviceProfile> devices;
  for (const std::string& text : all_gather_text(world_, to_text(one), deadline()))
    devices.push_back(parse_cluster(text, "a rank's device").devices.at(0));
  return devices;
}

/// Small ones for latency, and what travels between stages: one grain's activations, and several.
std::vector<int64_t> Bench::message_sizes() const {
  const Recipe& recipe = options_.recipe;
  const int64_t grain = recipe.grain_samples * recipe.sequence_length *
                        (recipe.model.hidden_size * size_of(recipe.numerics.boundary) +
                         MicroBatch::kFields * size_of(DType::kI32));
  std::vector<int64_t> sizes = {64, 4096, 32 << 10, 256 << 10, 1 << 20, grain};
  for (const int64_t many : {2, 4})
    if (grain * many <= 8 << 20) sizes.push_back(grain * many);
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes;
}

std::vector<LinkProfile> Bench::measure_all_links() {
  say("links");
  LinkBenchOptions links;
  for (size_t r = 0; r < facts_.size(); ++r) {
    links.nodes.push_back(facts_[r].host.name);
    links.ids.push_back(id_of(static_cast<int>(r)));
  }
  links.sizes = message_sizes();
  links.repeats = effort_.link_repeats;
  links.timeout_seconds = options_.timeout_seconds;
  links.ops = options_.ops;
  links.tensors = options_.tensors;
  const bool exact = options_.recipe.numerics.reduction == Reduction::kExact;
  links.reduce_dtype = exact ? DType::kI64 : DType::kF32;
  int64_t largest = 1 << 16;
  for (const ParamGroup& group : model_layout(options_.recipe.model))
    largest = std::max(largest, group.size);
  links.reduce_elements = std::min<int64_t>(largest, 4 << 20);
  const at::Tensor a = at::ones({kBusySide, kBusySide}, at::kFloat);
  at::Tensor c = at::ones({kBusySide, kBusySide}, at::kFloat);
  const at::Tensor on_gpu = options_.ops->on_host() ? at::Tensor() : options_.ops->from_host(a);
  links.compute = [&] { at::mm_out(c, a, a); };
  if (on_gpu.defined())
    links.compute = [&] { options_.ops->all_finite(options_.ops->linear(on_gpu, on_gpu, {}, {})); };
  // A device that waits leaves its core to the others.
  if (device_of(options_, world_.rank()).waits)
    links.compute = [] { nap_until(now_ns() + 30'000); };
  return measure_links(links, world_);
}

Measurement Bench::run() {
  const int64_t begin = now_ns();
  preflight();
  const DeviceProfile own = measure_device();
  Measurement out;
  out.cluster.name = options_.recipe.name + " on " + std::to_string(world_.size()) + " ranks";
  out.cluster.measured = measured_layers(options_.recipe);
  out.cluster.devices = gather_devices(own);
  out.cluster.links = measure_all_links();
  // What a reader of the file checks, on every rank.
  out.cluster = parse_cluster(to_text(out.cluster), "the measured profile", options_.recipe);
  const std::vector<Finding> found = check_profile(out.cluster, facts_);
  findings_.insert(findings_.end(), found.begin(), found.end());
  out.findings = std::move(findings_);
  out.seconds = seconds_since(begin);
  for (const Finding& finding : out.findings)
    log_.info("bench: " + finding.what + "; " + finding.what_to_do);
  return out;
}

}  // namespace

Measurement measure_cluster(const BenchOptions& options, Communicator& world, FileSystem& files,
                            Log& log) {
  return Bench(options, world, files, log).run();
}

bool still_holds(const ClusterProfile& cluster, const BenchOptions& options, Communicator& world) {
  const Deadline deadline = Deadline::after_seconds(options.timeout_seconds);
  RankFacts own;
  together(
      world, [&] { own = own_facts(options, world.rank()); }, deadline);
  const std::vector<RankFacts> facts = gather_facts(own, world, deadline);
  if (cluster.devices.size() != facts.size() || cluster.measured != measured_layers(options.recipe))
    return false;
  for (size_t rank = 0; rank < facts.size(); ++rank)
    if (cluster.devices[rank].count != 1 ||
        cluster.devices[rank].machine_digest != machine_digest(facts, rank, options.recipe))
      return false;
  return true;
}

}  // namespace kente
