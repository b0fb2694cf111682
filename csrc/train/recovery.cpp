#include "csrc/train/recovery.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

#include "csrc/base/errors.h"
#include "csrc/ckpt/manifest.h"
#include "csrc/ckpt/snapshot.h"
#include "csrc/train/gather.h"
#include "csrc/train/state_tensors.h"

namespace kente {
namespace {

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

Recovery::Recovery(const Mesh& mesh, Communicator& world, FileSystem& files, Log& log,
                   const Places& places, double timeout_seconds)
    : mesh_(mesh),
      world_(world),
      files_(files),
      log_(log),
      timeout_seconds_(timeout_seconds),
      start_(shared_token(world, deadline())),
      memory_{.directory = places.snapshots, .domains = {}} {
  const std::string disk = places.run_directory + "/ckpt";
  together(
      world,
      [&] {
        files.make_directories(disk);
        if (!memory_.directory.empty()) files.make_directories(memory_.directory);
      },
      deadline());
  checkpoints_.push_back(
      {.directory = disk,
       .domains = find_storage_domains(world, files, places.run_directory, start_, deadline())});
  for (const std::string& copy : places.copies) add_copy(copy);
  if (!memory_.directory.empty())
    memory_.domains = find_storage_domains(world, files, memory_.directory, start_, deadline());
}

void Recovery::add_copy(const std::string& directory) {
  try {
    StoragePlace place{.directory = directory + "/ckpt", .domains = {}};
    together(
        world_, [&] { files_.make_directories(place.directory); }, deadline());
    place.domains = find_storage_domains(world_, files_, directory, start_, deadline());
    checkpoints_.push_back(std::move(place));
  } catch (const StorageError& failure) {
    left_out_.push_back(directory + ": " + failure.what());
  } catch (const PeerStopped& peer) {
    if (peer.status() != ExitStatus::kStorage) throw;
    left_out_.push_back(directory + ": " + peer.what());
  }
}

Recovery::~Recovery() {
  std::error_code not_empty;  // then snapshots lie there, ours or others'
  if (!memory_.directory.empty()) std::filesystem::remove(memory_.directory, not_empty);
}

void Recovery::by_leaders(const StoragePlace& place, const std::function<void()>& work) {
  together(
      world_, [&] { place.leads(world_.rank()) ? work() : void(); }, deadline());
}

void Recovery::forget_after(int64_t step) {
  for (const StoragePlace& place : checkpoints_) {
    const std::string what = place.directory + ": what training went back from stays: ";
    try {
      by_leaders(place, [&] { kente::forget_after(files_, place.directory, step); });
    } catch (const StorageError& failure) {
      log_.error(what + failure.what());
    } catch (const PeerStopped& peer) {
      if (peer.status() != ExitStatus::kStorage) throw;
      log_.error(what + peer.what());
    }
  }
}

std::vector<NamedTensor> Recovery::own_tensors(const HostState& state) const {
  std::vector<NamedTensor> tensors;
  for (const StateTensor& tensor : all_tensors(mesh_, state.parameters(), true)) {
    if (!state.parameters().holds(tensor.group)) continue;
    ElementRange elements = tensor.elements();
    if (mesh_.shard_optimizer && tensor.kind != StateKind::kMaster) {
      elements = intersect(elements, state.optimizer()->shard(tensor.group));
      if (elements.size() == 0) continue;
    } else if (tensor.bucket->storer(tensor.group) != world_.rank()) {
      continue;
    }
    tensors.push_back(stored_tensor(tensor, elements, place_of(tensor, elements.begin, state)));
  }
  return tensors;
}

Recovery::Inventories Recovery::gather_inventories(const StoragePlace& place) {
  std::string mine;
  by_leaders(place, [&] {
    mine = to_json(&place == &memory_ ? list_snapshots(files_, place.directory)
                                      : list_checkpoints(files_, place.directory));
  });
  const std::vector<std::string> all = all_gather_text(world_, mine, deadline());
  Inventories inventories;
  for (const int leader : place.domains.leader_of)
    inventories.push_back(
        parse_inventory(all[static_cast<size_t>(leader)], "rank " + std::to_string(leader)));
  return inventories;
}

void Recovery::choose_newest(Source& source, const std::vector<WantedTensor>& wanted) {
  RestoreChoice choice = newest_complete(source.inventories, wanted);
  if (world_.rank() == 0)
    for (const std::string& line : choice.passed_over)
      log_.warn("passed over: " + source.place->directory + ": " + line);
  source.newest = std::move(choice.point);
}

/// Steps of two runs in one directory: somebody copied one there, and no rule could tell which.
void Recovery::refuse_two_runs(const Source& source) {
  const StepInventory* first = nullptr;
  for (const std::vector<StepInventory>& inventory : source.inventories)
    for (const StepInventory& stored : inventory) {
      if (!stored.problem.empty()) continue;
      if (!first) first = &stored;
      if (stored.manifest.run_id == first->manifest.run_id) continue;
      throw UsageError(source.place->directory + ": " + step_directory(first->step) +
                       " is of run " + first->manifest.run_id + ", " + step_directory(stored.step) +
                       " of run " + stored.manifest.run_id +
                       ": move the one that does not belong here elsewhere");
    }
}

std::vector<Recovery::Source> Recovery::find_sources(const std::string& recipe_sha256,
                                                     const std::vector<WantedTensor>& wanted,
                                                     int64_t at_most) {
  std::vector<Source> sources;
  std::string run_id;  // of what this run directory holds: copies and memory of others are not ours
  for (const StoragePlace& place : checkpoints_) {
    Source source{.place = &place, .inventories = gather_inventories(place)};
    for (std::vector<StepInventory>& inventory : source.inventories)
      std::erase_if(inventory, [&](const StepInventory& stored) {
        return stored.step > at_most || (!run_id.empty() && stored.manifest.run_id != run_id);
      });
    refuse_two_runs(source);
    choose_newest(source, wanted);
    if (run_id.empty() && source.newest) run_id = source.newest->manifest.run_id;
    sources.push_back(std::move(source));
  }
  if (memory_.directory.empty()) return sources;
  MergedSnapshots merged =
      merge_snapshots(gather_inventories(memory_), recipe_sha256, run_id, at_most);
  copies_ = std::move(merged.copies);
  Source memory{.place = &memory_, .inventories = std::move(merged.found)};
  choose_newest(memory, wanted);
  sources.insert(sources.begin(), std::move(memory));
  return sources;
}

std::optional<Recovery::Restored> Recovery::restore(const std::string& recipe_sha256,
                                                    HostState& state, int64_t at_most) {
  const std::vector<WantedTensor> wanted =
      wanted_tensors(mesh_, state.parameters(), state.optimizer() != nullptr);
  std::vector<Source> sources = find_sources(recipe_sha256, wanted, at_most);
  state.read();  // what is stored leaves gaps between tensors
  while (true) {
    const auto source =
        std::max_element(sources.begin(), sources.end(), [](const Source& a, const Source& b) {
          return (a.newest ? a.newest->step : -1) < (b.newest ? b.newest->step : -1);
        });
    if (!source->newest) return std::nullopt;
    const CheckpointManifest& manifest = source->newest->manifest;
    if (manifest.recipe_sha256 != recipe_sha256)
      throw UsageError(source->place->directory + "/" + step_directory(manifest.step) +
                       ": trained by another recipe (" + manifest.recipe_sha256 + ", this one is " +
                       recipe_sha256 + "): resume with the recipe.textproto of its run directory");
    const std::vector<std::string> damaged = fetch(*source, state);
    if (damaged.empty()) {
      state.write();
      const bool from_memory = source->place == &memory_;
      if (from_memory) keep_restored(*source->newest);
      Restored restored{
          .moment = {.step = manifest.step, .samples = manifest.samples, .state = manifest.state},
          .run_id = manifest.run_id,
          .from = from_memory ? "the snapshot in memory" : source->place->directory};
      restored.moment.state.erase(kSnapshotStart);
      return restored;
    }
    // A damaged file is as good as absent: choose again without it.
    for (const std::string& line : damaged) {
      const auto domain = static_cast<size_t>(std::stoi(line));
      const std::string file = line.substr(line.find(' ') + 1);
      for (StepInventory& step : source->inventories[domain])
        if (step.step == manifest.step) std::erase(step.present, file);
    }
    choose_newest(*source, wanted);
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

/// The files that the state came from, on every node, stay until newer ones are complete.
void Recovery::keep_restored(const RestorePoint& point) {
  for (const Shard& shard : point.manifest.shards) restored_files_.insert(shard.file);
  for (const auto& copies : copies_)
    for (const auto& [of, file] : copies)
      if (of.first == point.step) restored_files_.insert(file);
}

std::string Recovery::path_of(const Source& source, const Shard& shard) const {
  const std::string& directory = source.place->directory;
  const int64_t step = source.newest->step;
  if (source.place != &memory_) return directory + "/" + step_directory(step) + "/" + shard.file;
  const auto& copies = copies_.at(static_cast<size_t>(memory_.domain(world_.rank())));
  const auto copy = copies.find({step, shard.file});
  return directory + "/" + (copy == copies.end() ? shard.file : copy->second);
}

std::vector<Recovery::Transfer> Recovery::transfers(const Source& from,
                                                    const HostState& state) const {
  const RestorePoint& point = *from.newest;
  std::vector<Transfer> all;
  for (const StateTensor& tensor :
       all_tensors(mesh_, state.parameters(), state.optimizer() != nullptr))
    for (const TensorSource& source : point.tensors.at(tensor.name())) {
      TensorMove move = move_of(tensor, source, state.parameters().layout(tensor.group).size);
      move.domains = point.holders[source.shard];
      for (const TensorMove::Receiver& receiver : move.receivers) {
        if (receiver.rank != world_.rank()) continue;
        const int64_t element =
            tensor.elements().begin + source.first() + receiver.first / size_of(DType::kF32);
        move.own = place_of(tensor, element, state);
      }
      all.push_back({.source = &source, .move = std::move(move)});
    }
  return all;
}

/// The shards that this rank will read; the next bytes of each are on their way while the last are
/// digested, unless they are so many that it would take much memory.
Recovery::Readers Recovery::open_readers(const Source& from,
                                         const std::vector<Transfer>& transfers) const {
  constexpr size_t kReadAhead = 4;
  std::map<size_t, std::vector<TensorPart>> parts;
  for (const Transfer& transfer : transfers)
    for (const ReadBytes& read : reads_of(transfer.move, from.place->domains, world_.rank()))
      parts[transfer.source->shard].push_back(
          {.tensor = transfer.source->tensor, .first = read.first, .bytes = read.bytes});
  Readers readers;
  for (const auto& [index, wanted] : parts) {
    const Shard& shard = from.newest->manifest.shards[index];
    try {
      auto reader = std::make_unique<ShardReader>(files_, path_of(from, shard), shard);
      if (parts.size() <= kReadAhead) reader->announce(wanted);
      readers[index] = std::move(reader);
    } catch (const Error& failure) {  // none: whoever reads it will say so
      if (exit_status(failure) == ExitStatus::kBug) throw;
      log_.warn(failure.what());
    }
  }
  return readers;
}

std::vector<std::string> Recovery::fetch(const Source& from, const HostState& state) {
  std::string damaged;  // lines "domain file"
  const std::vector<Transfer> all = transfers(from, state);
  const Readers readers = open_readers(from, all);
  const auto read = [&](const TensorSource& source, int64_t first, int64_t bytes, void* out) {
    try {
      if (const auto reader = readers.find(source.shard); reader != readers.end()) {
        reader->second->read_part(source.tensor, first, bytes, out);
        return true;
      }
    } catch (const Error& failure) {
      if (exit_status(failure) == ExitStatus::kBug) throw;
      log_.warn(failure.what());
    }
    damaged += std::to_string(from.place->domain(world_.rank())) + " " +
               from.newest->manifest.shards[source.shard].file + "\n";
    return false;
  };
  // One global order of tensors and receivers: whoever waits, waits for the earliest transfer that
  // is not done.
  for (const Transfer& transfer : all)
    move_tensor(
        transfer.move, from.place->domains, world_,
        [&](int64_t first, int64_t bytes, void* out) {
          return read(*transfer.source, first, bytes, out);
        },
        deadline());
  return all_gather_lines(world_, damaged, deadline());
}

}  // namespace kente
