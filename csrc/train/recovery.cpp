#include "csrc/train/recovery.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <memory>
#include <random>

#include "csrc/base/errors.h"
#include "csrc/base/hash.h"
#include "csrc/ckpt/manifest.h"
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

/// Equal on all ranks, different every time.
std::string shared_token(Communicator& world, const Deadline& deadline) {
  std::random_device device;
  uint64_t token = (uint64_t{device()} << 32) | device();
  world.broadcast({.data = &token, .count = 1, .dtype = DType::kI64}, 0)->wait(deadline);
  return hex64(token);
}

}  // namespace

Recovery::Recovery(const Mesh& mesh, Communicator& world, FileSystem& files, Log& log,
                   const std::string& run_directory, double timeout_seconds)
    : mesh_(mesh),
      world_(world),
      files_(files),
      log_(log),
      directory_(run_directory + "/ckpt"),
      timeout_seconds_(timeout_seconds) {
  together(
      world, [&] { files.make_directories(directory_); }, deadline());
  domains_ = find_storage_domains(world, files, run_directory, shared_token(world, deadline()),
                                  deadline());
}

void Recovery::by_leaders(const std::function<void()>& work) {
  together(
      world_, [&] { leads_domain() ? work() : void(); }, deadline());
}

bool Recovery::save(const Moment& moment, const RunIdentity& run, const Parameters& parameters,
                    const AdamW& optimizer, const Retention& retention) {
  const std::string step = std::to_string(moment.step);
  const std::string id = run.run_id + "-" + step + "-" + std::to_string(++attempts_);
  try {
    by_leaders([&] { remove_leftovers(files_, directory_); });
    Shard mine;
    together(
        world_, [&] { mine = write_own_shard(id, parameters, optimizer); }, deadline());
    CheckpointManifest manifest;
    manifest.step = moment.step;
    manifest.run_id = run.run_id;
    manifest.recipe_sha256 = run.recipe_sha256;
    manifest.samples = moment.samples;
    manifest.state = moment.state;
    const std::string text = mine.file.empty() ? std::string() : to_json(mine);
    const std::vector<std::string> all = all_gather_text(world_, text, deadline());
    for (size_t rank = 0; rank < all.size(); ++rank)
      if (!all[rank].empty()) manifest.add(parse_shard(all[rank], "rank " + std::to_string(rank)));
    by_leaders([&] { write_manifest(files_, directory_, id, manifest); });
    by_leaders([&] { commit(files_, directory_, id, moment.step); });
    by_leaders([&] { retain(files_, directory_, retention.newest, retention.also); });
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
    by_leaders([&] { kente::forget_after(files_, directory_, step); });
  } catch (const StorageError& failure) {
    log_.error(std::string("a checkpoint that training went back from stays: ") + failure.what());
  } catch (const PeerStopped& peer) {
    if (peer.status() != ExitStatus::kStorage) throw;
    log_.error(std::string("a checkpoint that training went back from stays: ") + peer.what());
  }
}

Shard Recovery::write_own_shard(const std::string& id, const Parameters& parameters,
                                const AdamW& optimizer) {
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
  if (tensors.empty()) return {};
  Shard shard = write_shard(files_, directory_, id, shard_name(world_.rank()), tensors);
  shard.domain = domain();
  return shard;
}

std::vector<std::vector<StepInventory>> Recovery::gather_inventories() {
  std::string mine;
  together(
      world_,
      [&] {
        if (leads_domain()) mine = to_json(list_checkpoints(files_, directory_));
      },
      deadline());
  const std::vector<std::string> all = all_gather_text(world_, mine, deadline());
  std::vector<std::vector<StepInventory>> inventories;
  for (const int leader : domains_.leader_of)
    inventories.push_back(
        parse_inventory(all[static_cast<size_t>(leader)], "rank " + std::to_string(leader)));
  return inventories;
}

std::optional<Recovery::Restored> Recovery::restore(const std::string& recipe_sha256,
                                                    Parameters& parameters, AdamW* optimizer,
                                                    int64_t at_most) {
  std::vector<std::vector<StepInventory>> inventories = gather_inventories();
  for (std::vector<StepInventory>& inventory : inventories)
    std::erase_if(inventory, [&](const StepInventory& stored) { return stored.step > at_most; });
  const std::vector<WantedTensor> wanted = wanted_tensors(mesh_, parameters, optimizer != nullptr);
  while (true) {
    const RestoreChoice choice = newest_complete(inventories, wanted);
    if (world_.rank() == 0)
      for (const std::string& line : choice.passed_over) log_.warn("passed over: " + line);
    if (!choice.point) return std::nullopt;
    const RestorePoint& point = *choice.point;
    if (point.manifest.recipe_sha256 != recipe_sha256)
      throw UsageError(directory_ + "/" + step_directory(point.step) +
                       ": trained by another recipe (" + point.manifest.recipe_sha256 +
                       ", this one is " + recipe_sha256 +
                       "): resume with the recipe.textproto of its run directory");
    const std::vector<std::string> damaged = fetch(point, parameters, optimizer);
    if (damaged.empty()) {
      for (const int group : parameters.groups()) parameters.refresh(group);
      return Restored{.moment = {.step = point.step,
                                 .samples = point.manifest.samples,
                                 .state = point.manifest.state},
                      .run_id = point.manifest.run_id};
    }
    // A damaged file is as good as absent: choose again without it.
    for (const std::string& line : damaged) {
      const auto domain = static_cast<size_t>(std::stoi(line));
      const std::string file = line.substr(line.find(' ') + 1);
      for (StepInventory& step : inventories[domain])
        if (step.step == point.step) std::erase(step.present, file);
    }
  }
}

std::vector<std::string> Recovery::fetch(const RestorePoint& point, const Parameters& parameters,
                                         AdamW* optimizer) {
  std::string damaged;  // lines "domain file"
  std::map<size_t, std::unique_ptr<ShardReader>> readers;
  const auto read = [&](const TensorSource& source, int64_t first, int64_t bytes, void* out) {
    const Shard& shard = point.manifest.shards[source.shard];
    try {
      auto& reader = readers[source.shard];
      if (!reader)
        reader = std::make_unique<ShardReader>(
            files_, directory_ + "/" + step_directory(point.step) + "/" + shard.file, shard);
      reader->read_part(source.tensor, first, bytes, out);
      return true;
    } catch (const Error& failure) {
      if (exit_status(failure) == ExitStatus::kBug) throw;
      log_.warn(failure.what());
      damaged += std::to_string(domain()) + " " + shard.file + "\n";
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
          move, domains_, world_,
          [&](int64_t first, int64_t bytes, void* out) { return read(source, first, bytes, out); },
          deadline());
    }
  return all_gather_lines(world_, damaged, deadline());
}

}  // namespace kente
