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
#include "csrc/train/gather.h"
#include "csrc/train/transfer.h"

namespace kente {
namespace {

/// Every stored tensor of a group, as views into this rank's buffers; in a fixed order.
std::vector<NamedTensor> stored_tensors(const ParamGroup& layout, const at::Tensor& master,
                                        const at::Tensor& exp_avg, const at::Tensor& exp_avg_sq) {
  std::vector<NamedTensor> tensors;
  for (const ParamSpec& spec : layout.params) {
    const auto add = [&](const std::string& name, const at::Tensor& flat) {
      if (!flat.defined()) return;
      tensors.push_back({.name = name,
                         .shape = spec.shape,
                         .data = {.data = flat.data_ptr<float>() + spec.offset,
                                  .count = spec.count,
                                  .dtype = DType::kF32}});
    };
    add(spec.name, master);
    add("exp_avg." + spec.name, exp_avg);
    add("exp_avg_sq." + spec.name, exp_avg_sq);
  }
  return tensors;
}

std::vector<NamedTensor> stored_tensors(int group, const Parameters& parameters,
                                        const AdamW* optimizer) {
  return stored_tensors(parameters.layout(group), parameters.master(group),
                        optimizer ? optimizer->exp_avg(group) : at::Tensor(),
                        optimizer ? optimizer->exp_avg_sq(group) : at::Tensor());
}

/// The same names and shapes for the whole model: what a checkpoint must hold.
std::vector<WantedTensor> wanted_tensors(const Mesh& mesh, const Parameters& parameters,
                                         bool with_optimizer) {
  std::vector<WantedTensor> wanted;
  for (const Bucket& bucket : mesh.buckets)
    for (const int group : bucket.groups)
      for (const ParamSpec& spec : parameters.layout(group).params) {
        wanted.push_back({.name = spec.name, .dtype = DType::kF32, .shape = spec.shape});
        if (!with_optimizer) continue;
        wanted.push_back(
            {.name = "exp_avg." + spec.name, .dtype = DType::kF32, .shape = spec.shape});
        wanted.push_back(
            {.name = "exp_avg_sq." + spec.name, .dtype = DType::kF32, .shape = spec.shape});
      }
  return wanted;
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

bool Recovery::save(int64_t step, int64_t samples, const RunIdentity& run,
                    const Parameters& parameters, const AdamW& optimizer, int64_t keep) {
  const std::string id =
      run.run_id + "-" + std::to_string(step) + "-" + std::to_string(++attempts_);
  const auto by_leaders = [&](const std::function<void()>& work) {
    together(
        world_, [&] { leads_domain() ? work() : void(); }, deadline());
  };
  try {
    by_leaders([&] { remove_leftovers(files_, directory_); });
    Shard mine;
    together(
        world_, [&] { mine = write_own_shard(id, parameters, optimizer); }, deadline());
    CheckpointManifest manifest;
    manifest.step = step;
    manifest.run_id = run.run_id;
    manifest.recipe_sha256 = run.recipe_sha256;
    manifest.samples = samples;
    const std::string text = mine.file.empty() ? std::string() : to_json(mine);
    const std::vector<std::string> all = all_gather_text(world_, text, deadline());
    for (size_t rank = 0; rank < all.size(); ++rank)
      if (!all[rank].empty())
        manifest.shards.push_back(parse_shard(all[rank], "rank " + std::to_string(rank)));
    by_leaders([&] { write_manifest(files_, directory_, id, manifest); });
    by_leaders([&] { commit(files_, directory_, id, step); });
    by_leaders([&] { retain(files_, directory_, keep); });
    return true;
  } catch (const StorageError& failure) {
    log_.error("checkpoint of step " + std::to_string(step) + " failed: " + failure.what());
  } catch (const PeerStopped& peer) {
    if (peer.status() != ExitStatus::kStorage) throw;
    log_.error("checkpoint of step " + std::to_string(step) + " failed: " + peer.what());
  }
  return false;
}

Shard Recovery::write_own_shard(const std::string& id, const Parameters& parameters,
                                const AdamW& optimizer) {
  std::vector<NamedTensor> tensors;
  for (const Bucket& bucket : mesh_.buckets)
    for (const int group : bucket.groups) {
      // Holders have equal bits; they take turns so that none writes everything.
      const auto turn = static_cast<size_t>(group) % bucket.holders.size();
      if (bucket.holders[turn] != world_.rank()) continue;
      for (NamedTensor& tensor : stored_tensors(group, parameters, &optimizer))
        tensors.push_back(std::move(tensor));
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
                                                    Parameters& parameters, AdamW* optimizer) {
  std::vector<std::vector<StepInventory>> inventories = gather_inventories();
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
      return Restored{.step = point.step, .run_id = point.manifest.run_id};
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
  const auto read = [&](const TensorSource& source, void* out) {
    const Shard& shard = point.manifest.shards[source.shard];
    try {
      auto& reader = readers[source.shard];
      if (!reader)
        reader = std::make_unique<ShardReader>(
            files_, directory_ + "/" + step_directory(point.step) + "/" + shard.file, shard);
      reader->read(source.tensor, out);
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
  for (const Bucket& bucket : mesh_.buckets)
    for (const int group : bucket.groups) {
      std::vector<NamedTensor> own;
      if (parameters.holds(group)) own = stored_tensors(group, parameters, optimizer);
      const ParamGroup& layout = parameters.layout(group);
      const size_t per_parameter = optimizer ? 3 : 1;
      for (size_t i = 0; i < layout.params.size() * per_parameter; ++i) {
        const std::string& name = layout.params[i / per_parameter].name;
        static constexpr std::array<const char*, 3> kPrefix = {"", "exp_avg.", "exp_avg_sq."};
        const TensorSource& source = point.tensors.at(kPrefix[i % per_parameter] + name);
        move_tensor(
            {.holders = bucket.holders,
             .domains = point.holders[source.shard],
             .bytes = source.tensor.bytes,
             .own = own.empty() ? nullptr : own[i].data.data},
            domains_, world_, [&](void* out) { return read(source, out); }, deadline());
      }
    }
  std::vector<std::string> lines;
  for (const std::string& text : all_gather_text(world_, damaged, deadline()))
    for (size_t at = 0; at < text.size();) {
      const size_t end = text.find('\n', at);
      lines.push_back(text.substr(at, end - at));
      at = end + 1;
    }
  return lines;
}

}  // namespace kente
