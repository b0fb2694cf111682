#include "csrc/train/recovery.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>

#include "csrc/base/errors.h"
#include "csrc/ckpt/manifest.h"
#include "csrc/ckpt/snapshot.h"
#include "csrc/plan/shards.h"
#include "csrc/train/gather.h"
#include "csrc/train/transfer.h"

namespace kente {
namespace {

/// What a checkpoint holds of a parameter: its master weights and its two moments.
enum class Kind { kMaster, kExpAvg, kExpAvgSq };

/// One tensor of a checkpoint: what it is, and the elements of its group's flat buffer it covers.
struct StateTensor {
  Kind kind = Kind::kMaster;
  const Bucket* bucket = nullptr;
  int group = 0;
  const ParamSpec* spec = nullptr;

  std::string name() const {
    constexpr std::array kPrefix = {"", "exp_avg.", "exp_avg_sq."};
    return kPrefix[static_cast<size_t>(kind)] + spec->name;
  }
  ElementRange elements() const {
    return {.begin = spec->offset, .end = spec->offset + spec->count};
  }
};

/// The whole model's, in the one order in which all ranks go through them.
std::vector<StateTensor> all_tensors(const Mesh& mesh, const Parameters& parameters,
                                     bool with_optimizer) {
  std::vector<StateTensor> tensors;
  for (const Bucket& bucket : mesh.buckets)
    for (const int group : bucket.groups)
      for (const ParamSpec& spec : parameters.layout(group).params)
        for (const Kind kind : {Kind::kMaster, Kind::kExpAvg, Kind::kExpAvgSq})
          if (kind == Kind::kMaster || with_optimizer)
            tensors.push_back({.kind = kind, .bucket = &bucket, .group = group, .spec = &spec});
  return tensors;
}

/// This rank's place for an element of a tensor; it must hold that element.
float* place_of(const StateTensor& tensor, int64_t element, const Parameters& parameters,
                const AdamW* optimizer) {
  const int group = tensor.group;
  if (tensor.kind == Kind::kMaster) return parameters.master(group).data_ptr<float>() + element;
  const at::Tensor moment =
      tensor.kind == Kind::kExpAvg ? optimizer->exp_avg(group) : optimizer->exp_avg_sq(group);
  return moment.data_ptr<float>() + (element - optimizer->shard(group).begin);
}

/// Elements of a tensor as a checkpoint stores them: a piece unless they are all of it.
NamedTensor stored_tensor(const StateTensor& tensor, const ElementRange& elements, float* data) {
  NamedTensor stored;
  stored.name = tensor.name();
  stored.shape = tensor.spec->shape;
  stored.data = {.data = data, .count = elements.size(), .dtype = DType::kF32};
  if (elements == tensor.elements()) return stored;
  const int64_t first = elements.begin - tensor.elements().begin;
  stored.piece_of = PieceOf{.name = stored.name, .shape = stored.shape, .first = first};
  stored.name += "@" + std::to_string(first);
  stored.shape = {elements.size()};
  return stored;
}

/// Who needs which part of what a source holds: weights all holders, moments those whose shard it
/// meets. own and domains are left to the caller.
TensorMove move_of(const StateTensor& tensor, const TensorSource& source, int64_t group_size) {
  const int64_t begin = tensor.elements().begin + source.first();
  const ElementRange stored{.begin = begin, .end = begin + source.count()};
  const std::vector<ElementRange> shards = optimizer_shards(*tensor.bucket, group_size);
  TensorMove move;
  move.bytes = source.tensor.bytes;
  for (size_t holder = 0; holder < shards.size(); ++holder) {
    const ElementRange needed =
        tensor.kind == Kind::kMaster ? stored : intersect(stored, shards[holder]);
    if (needed.size() > 0)
      move.receivers.push_back({.rank = tensor.bucket->holders[holder],
                                .first = (needed.begin - begin) * size_of(DType::kF32),
                                .bytes = needed.size() * size_of(DType::kF32)});
  }
  return move;
}

/// The names and shapes for the whole model: what a checkpoint must hold.
std::vector<WantedTensor> wanted_tensors(const Mesh& mesh, const Parameters& parameters,
                                         bool with_optimizer) {
  std::vector<WantedTensor> wanted;
  for (const StateTensor& tensor : all_tensors(mesh, parameters, with_optimizer))
    wanted.push_back({.name = tensor.name(), .dtype = DType::kF32, .shape = tensor.spec->shape});
  return wanted;
}

/// Everybody's lines, by rank.
std::vector<std::string> all_gather_lines(Communicator& world, const std::string& lines,
                                          const Deadline& deadline) {
  std::vector<std::string> all;
  for (const std::string& text : all_gather_text(world, lines, deadline))
    for (size_t at = 0; at < text.size();) {
      const size_t end = text.find('\n', at);
      all.push_back(text.substr(at, end - at));
      at = end + 1;
    }
  return all;
}

std::string shard_name(int rank) {
  std::array<char, 32> name{};
  std::snprintf(name.data(), name.size(), "rank-%04d.safetensors", rank);
  return name.data();
}

}  // namespace

CheckpointManifest manifest_of(const Moment& moment, const RunIdentity& run) {
  CheckpointManifest manifest;
  manifest.step = moment.step;
  manifest.run_id = run.run_id;
  manifest.recipe_sha256 = run.recipe_sha256;
  manifest.samples = moment.samples;
  manifest.state = moment.state;
  return manifest;
}

std::string Recovery::Tier::path(const RestorePoint& point, const Shard& shard) const {
  return memory ? directory + "/" + shard.file
                : directory + "/" + step_directory(point.step) + "/" + shard.file;
}

Recovery::Recovery(const Mesh& mesh, Communicator& world, FileSystem& files, Log& log,
                   const Places& places, double timeout_seconds)
    : mesh_(mesh),
      world_(world),
      files_(files),
      log_(log),
      timeout_seconds_(timeout_seconds),
      start_(shared_token(world, deadline())),
      disk_{.directory = places.run_directory + "/ckpt"},
      memory_{.directory = places.snapshots, .memory = true} {
  together(
      world,
      [&] {
        files.make_directories(disk_.directory);
        if (!memory_.directory.empty()) files.make_directories(memory_.directory);
      },
      deadline());
  disk_.domains = find_storage_domains(world, files, places.run_directory, start_, deadline());
  if (!memory_.directory.empty())
    memory_.domains = find_storage_domains(world, files, memory_.directory, start_, deadline());
}

Recovery::~Recovery() {
  std::error_code not_empty;  // then snapshots lie there, ours or others'
  if (!memory_.directory.empty()) std::filesystem::remove(memory_.directory, not_empty);
}

void Recovery::by_leaders(const Tier& tier, const std::function<void()>& work) {
  together(
      world_, [&] { leads_in(tier) ? work() : void(); }, deadline());
}

bool Recovery::save(const Moment& moment, const RunIdentity& run, const Parameters& parameters,
                    const AdamW& optimizer, const Retention& retention) {
  const std::string step = std::to_string(moment.step);
  const std::string id = run.run_id + "-" + step + "-" + std::to_string(++attempts_);
  try {
    by_leaders(disk_, [&] { remove_leftovers(files_, disk_.directory); });
    Shard mine;
    together(
        world_, [&] { mine = write_own_shard(id, parameters, optimizer); }, deadline());
    CheckpointManifest manifest = manifest_of(moment, run);
    const std::string text = mine.file.empty() ? std::string() : to_json(mine);
    const std::vector<std::string> all = all_gather_text(world_, text, deadline());
    for (size_t rank = 0; rank < all.size(); ++rank)
      if (!all[rank].empty()) manifest.add(parse_shard(all[rank], "rank " + std::to_string(rank)));
    by_leaders(disk_, [&] { write_manifest(files_, disk_.directory, id, manifest); });
    by_leaders(disk_, [&] { commit(files_, disk_.directory, id, moment.step); });
    by_leaders(disk_, [&] { retain(files_, disk_.directory, retention.newest, retention.also); });
    return true;
  } catch (const StorageError& failure) {
    log_.error("checkpoint of step " + step + " failed: " + failure.what());
  } catch (const PeerStopped& peer) {
    if (peer.status() != ExitStatus::kStorage) throw;
    log_.error("checkpoint of step " + step + " failed: " + peer.what());
  }
  return false;
}

void Recovery::forget_after(int64_t step) {
  try {
    by_leaders(disk_, [&] { kente::forget_after(files_, disk_.directory, step); });
  } catch (const StorageError& failure) {
    log_.error(std::string("a checkpoint that training went back from stays: ") + failure.what());
  } catch (const PeerStopped& peer) {
    if (peer.status() != ExitStatus::kStorage) throw;
    log_.error(std::string("a checkpoint that training went back from stays: ") + peer.what());
  }
}

std::vector<NamedTensor> Recovery::own_tensors(const Parameters& parameters,
                                               const AdamW& optimizer) const {
  std::vector<NamedTensor> tensors;
  for (const StateTensor& tensor : all_tensors(mesh_, parameters, true)) {
    if (!parameters.holds(tensor.group)) continue;
    ElementRange elements = tensor.elements();
    if (mesh_.shard_optimizer && tensor.kind != Kind::kMaster) {
      elements = intersect(elements, optimizer.shard(tensor.group));
      if (elements.size() == 0) continue;
    } else {
      // Holders have equal bits; they take turns so that none writes everything.
      const std::vector<int>& holders = tensor.bucket->holders;
      if (holders[static_cast<size_t>(tensor.group) % holders.size()] != world_.rank()) continue;
    }
    float* data = place_of(tensor, elements.begin, parameters, &optimizer);
    tensors.push_back(stored_tensor(tensor, elements, data));
  }
  return tensors;
}

Shard Recovery::write_own_shard(const std::string& id, const Parameters& parameters,
                                const AdamW& optimizer) {
  const std::vector<NamedTensor> tensors = own_tensors(parameters, optimizer);
  if (tensors.empty()) return {};
  Shard shard = write_shard(files_, disk_.directory, id, shard_name(world_.rank()), tensors);
  shard.domain = domain_in(disk_);
  return shard;
}

std::vector<std::vector<StepInventory>> Recovery::gather_inventories(const Tier& tier) {
  std::string mine;
  by_leaders(tier, [&] {
    mine = to_json(tier.memory ? list_snapshots(files_, tier.directory)
                               : list_checkpoints(files_, tier.directory));
  });
  const std::vector<std::string> all = all_gather_text(world_, mine, deadline());
  std::vector<std::vector<StepInventory>> inventories;
  for (const int leader : tier.domains.leader_of)
    inventories.push_back(
        parse_inventory(all[static_cast<size_t>(leader)], "rank " + std::to_string(leader)));
  return inventories;
}

std::optional<Recovery::Restored> Recovery::restore(const std::string& recipe_sha256,
                                                    Parameters& parameters, AdamW* optimizer,
                                                    int64_t at_most) {
  const std::vector<WantedTensor> wanted = wanted_tensors(mesh_, parameters, optimizer != nullptr);
  const auto newest = [&](const Tier& tier) {
    if (tier.inventories.empty()) return std::optional<RestorePoint>();
    RestoreChoice choice = newest_complete(tier.inventories, wanted);
    if (world_.rank() == 0)
      for (const std::string& line : choice.passed_over) log_.warn("passed over: " + line);
    return choice.point;
  };
  disk_.inventories = gather_inventories(disk_);
  for (std::vector<StepInventory>& inventory : disk_.inventories)
    std::erase_if(inventory, [&](const StepInventory& stored) { return stored.step > at_most; });
  std::optional<RestorePoint> stored = newest(disk_);
  if (!memory_.directory.empty())
    memory_.inventories =
        merge_snapshots(gather_inventories(memory_), recipe_sha256,
                        stored ? stored->manifest.run_id : std::string(), at_most);
  while (true) {
    const std::optional<RestorePoint> kept = newest(memory_);
    const bool from_memory = kept && (!stored || kept->step >= stored->step);
    Tier& tier = from_memory ? memory_ : disk_;
    if (!from_memory) stored = newest(disk_);
    if (!from_memory && !stored) return std::nullopt;
    const RestorePoint& point = from_memory ? *kept : *stored;
    if (point.manifest.recipe_sha256 != recipe_sha256)
      throw UsageError(tier.directory + "/" + step_directory(point.step) +
                       ": trained by another recipe (" + point.manifest.recipe_sha256 +
                       ", this one is " + recipe_sha256 +
                       "): resume with the recipe.textproto of its run directory");
    const std::vector<std::string> damaged = fetch(tier, point, parameters, optimizer);
    if (damaged.empty()) {
      for (const int group : parameters.groups()) parameters.refresh(group);
      for (const Shard& shard : point.manifest.shards)
        if (from_memory) restored_files_.insert(shard.file);
      Restored restored{.moment = {.step = point.step,
                                   .samples = point.manifest.samples,
                                   .state = point.manifest.state},
                        .run_id = point.manifest.run_id,
                        .from_memory = from_memory};
      restored.moment.state.erase(kSnapshotStart);
      return restored;
    }
    // A damaged file is as good as absent: choose again without it.
    for (const std::string& line : damaged) {
      const auto domain = static_cast<size_t>(std::stoi(line));
      const std::string file = line.substr(line.find(' ') + 1);
      for (StepInventory& step : tier.inventories[domain])
        if (step.step == point.step) std::erase(step.present, file);
    }
  }
}

void Recovery::forget_old_snapshots() {
  if (memory_.directory.empty()) return;
  by_leaders(memory_, [&] {
    remove_snapshots(files_, memory_.directory, [&](const std::string& file) {
      return file.starts_with(start_) || restored_files_.contains(file);
    });
  });
}

void Recovery::forget_restored_snapshots() {
  if (restored_files_.empty()) return;
  restored_files_.clear();
  forget_old_snapshots();
}

std::vector<std::string> Recovery::fetch(const Tier& tier, const RestorePoint& point,
                                         const Parameters& parameters, AdamW* optimizer) {
  std::string damaged;  // lines "domain file"
  std::map<size_t, std::unique_ptr<ShardReader>> readers;
  const auto read = [&](const TensorSource& source, int64_t first, int64_t bytes, void* out) {
    const Shard& shard = point.manifest.shards[source.shard];
    try {
      auto& reader = readers[source.shard];
      if (!reader) reader = std::make_unique<ShardReader>(files_, tier.path(point, shard), shard);
      reader->read_part(source.tensor, first, bytes, out);
      return true;
    } catch (const Error& failure) {
      if (exit_status(failure) == ExitStatus::kBug) throw;
      log_.warn(failure.what());
      damaged += std::to_string(domain_in(tier)) + " " + shard.file + "\n";
      return false;
    }
  };
  // One global order of tensors and receivers: whoever waits, waits for the earliest transfer that
  // is not done.
  for (const StateTensor& tensor : all_tensors(mesh_, parameters, optimizer != nullptr))
    for (const TensorSource& source : point.tensors.at(tensor.name())) {
      TensorMove move = move_of(tensor, source, parameters.layout(tensor.group).size);
      move.domains = point.holders[source.shard];
      for (const TensorMove::Receiver& receiver : move.receivers) {
        if (receiver.rank != world_.rank()) continue;
        const int64_t element =
            tensor.elements().begin + source.first() + receiver.first / size_of(DType::kF32);
        move.own = place_of(tensor, element, parameters, optimizer);
      }
      move_tensor(
          move, tier.domains, world_,
          [&](int64_t first, int64_t bytes, void* out) { return read(source, first, bytes, out); },
          deadline());
    }
  return all_gather_lines(world_, damaged, deadline());
}

}  // namespace kente
