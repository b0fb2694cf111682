#include "csrc/train/peer_copies.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "csrc/base/errors.h"
#include "csrc/ckpt/manifest.h"
#include "csrc/ckpt/safetensors.h"
#include "csrc/train/gather.h"

namespace kente {
namespace {

constexpr int kManifestTag = 0, kFirstTensorTag = 1;

/// Who keeps a rank's copy: a rank of the next domain, in turn.
int partner_of(int rank, const StorageDomains& domains) {
  const auto members = [&](int domain) {
    std::vector<int> ranks;
    for (size_t other = 0; other < domains.domain_of.size(); ++other)
      if (domains.domain_of[other] == domain) ranks.push_back(static_cast<int>(other));
    return ranks;
  };
  const int own = domains.domain_of.at(static_cast<size_t>(rank));
  const std::vector<int> here = members(own);
  const std::vector<int> there = members((own + 1) % static_cast<int>(domains.leader_of.size()));
  const auto place = static_cast<size_t>(std::find(here.begin(), here.end(), rank) - here.begin());
  return there[place % there.size()];
}

/// Names and shapes for whoever keeps a copy, in the words of a shard.
std::string layout_text(const std::vector<NamedTensor>& tensors) {
  if (tensors.empty()) return "";
  SafetensorsLayout layout = lay_out_safetensors(tensors);
  Shard shard;
  shard.file = "layout.safetensors";
  shard.bytes = layout.bytes;
  shard.sha256 = std::string(64, '0');
  shard.chunk_xxh3.resize(static_cast<size_t>((layout.bytes + kDigestChunk - 1) / kDigestChunk));
  shard.tensors = std::move(layout.tensors);
  return to_json(shard);
}

std::vector<NamedTensor> layout_of(const std::string& text, int rank) {
  std::vector<NamedTensor> tensors;
  if (text.empty()) return tensors;
  for (const StoredTensor& stored :
       parse_shard(text, "rank " + std::to_string(rank) + "'s layout").tensors)
    tensors.push_back({.name = stored.name,
                       .shape = stored.shape,
                       .data = {.data = nullptr,
                                .count = stored.bytes / size_of(stored.dtype),
                                .dtype = stored.dtype},
                       .piece_of = stored.piece_of});
  return tensors;
}

}  // namespace

PeerCopies::PeerCopies(const Options& options, const StorageDomains& memory,
                       const std::vector<NamedTensor>& own, Communicator& world, FileSystem& files,
                       Log& log)
    : options_(options), own_(own), files_(files), log_(log) {
  on_ = options.every > 0 && memory.leader_of.size() > 1;
  if (!on_) return;
  comm_ = world.split(0, world.rank());
  partner_ = partner_of(world.rank(), memory);
  sharing_ = StoragePlace{.directory = "", .domains = memory}.sharing(world.rank());
  const std::vector<std::string> layouts = all_gather_text(world, layout_text(own), deadline());
  for (int rank = 0; rank < world.size(); ++rank)
    if (partner_of(rank, memory) == world.rank() && !layouts[static_cast<size_t>(rank)].empty())
      kept_.push_back(
          {.rank = rank, .layout = layout_of(layouts[static_cast<size_t>(rank)], rank)});
}

PeerCopies::~PeerCopies() {
  work_.wait();
  if (held_) held_->release();
}

void PeerCopies::allocate() {
  if (!copy_) copy_ = std::make_unique<StateCopy>(own_, sharing_);
  for (Kept& kept : kept_) {
    std::unique_ptr<SnapshotSlot>& slot = kept.slots.at(next_);
    if (slot) continue;
    slot = std::make_unique<SnapshotSlot>(
        options_.directory, fmt::format("{}-rank-{:04d}-copy-{}", options_.start, kept.rank, next_),
        kept.layout);
  }
}

void PeerCopies::begin(Snapshots& snapshots, int64_t step) {
  KENTE_CHECK(on_ && !active(), "a copy while the last one is under way");
  phase_ = Phase::kCopying;
  step_ = step;
  manifest_.clear();
  if (snapshots.newest() != step) return;
  held_ = &snapshots;
  work_.start([this, from = snapshots.hold()] {
    allocate();
    copy_->fill(from);
    for (Kept& kept : kept_) target(kept).hide();
  });
}

/// The slot is needed until its digests are known.
void PeerCopies::release_when_copied() {
  if (!held_ || work_.working() || held_->sealing()) return;
  try {
    work_.rethrow();
    if (const CheckpointManifest* sealed = held_->sealed(step_)) manifest_ = to_json(*sealed);
  } catch (const StorageError& failure) {
    log_.error(std::string("no more copies on another node: ") + failure.what());
  }
  held_->release();
  held_ = nullptr;
}

bool PeerCopies::working() {
  if (phase_ == Phase::kCopying) release_when_copied();
  if (phase_ == Phase::kSending)
    std::erase_if(works_, [](const std::unique_ptr<Work>& work) { return work->done(); });
  return held_ != nullptr || work_.working() || !works_.empty();
}

/// False when some rank has nothing to send, or no room.
bool PeerCopies::post() {
  int64_t length = manifest_.empty() ? -1 : static_cast<int64_t>(manifest_.size());
  std::vector<int64_t> lengths(static_cast<size_t>(comm_->size()));
  comm_
      ->all_gather({.data = &length, .count = 1, .dtype = DType::kI64},
                   {.data = lengths.data(), .count = comm_->size(), .dtype = DType::kI64})
      ->wait(deadline());
  if (*std::min_element(lengths.begin(), lengths.end()) < 0) return false;
  for (Kept& kept : kept_) {
    kept.manifest.assign(static_cast<size_t>(lengths[static_cast<size_t>(kept.rank)]), '\0');
    works_.push_back(comm_->irecv({.data = kept.manifest.data(),
                                   .count = static_cast<int64_t>(kept.manifest.size()),
                                   .dtype = DType::kU8},
                                  kept.rank, kManifestTag));
    int tag = kFirstTensorTag;
    for (const NamedTensor& tensor : target(kept).tensors())
      works_.push_back(comm_->irecv(tensor.data, kept.rank, tag++));
  }
  works_.push_back(comm_->isend({.data = manifest_.data(), .count = length, .dtype = DType::kU8},
                                partner_, kManifestTag));
  // In the order of the layout that the partner was told: the file's.
  int tag = kFirstTensorTag;
  for (const size_t index : lay_out_safetensors(own_).order)
    works_.push_back(comm_->isend(copy_->tensors()[index].data, partner_, tag++));
  return true;
}

void PeerCopies::seal() {
  for (Kept& kept : kept_) {
    try {
      target(kept).seal_copy(
          files_, parse_manifest(kept.manifest, fmt::format("rank {}'s manifest", kept.rank)));
    } catch (const Error& failure) {
      if (exit_status(failure) == ExitStatus::kBug) throw;
      log_.warn(fmt::format("no copy of rank {}'s step {}: {}", kept.rank, step_, failure.what()));
    }
  }
}

std::optional<int64_t> PeerCopies::advance() {
  KENTE_CHECK(active() && !working(), "nothing to go on with");
  switch (phase_) {
    case Phase::kCopying:
      if (post()) {
        phase_ = Phase::kSending;
      } else {
        on_ = false;
        failed_ = true;
        phase_ = Phase::kIdle;
      }
      return std::nullopt;
    case Phase::kSending:
      phase_ = Phase::kSealing;
      work_.start([this] { seal(); });
      return std::nullopt;
    default:
      work_.rethrow();
      phase_ = Phase::kIdle;
      next_ = 1 - next_;
      return step_;
  }
}

void PeerCopies::finish() {
  while (active()) {
    work_.wait();
    if (held_) held_->wait();
    for (const std::unique_ptr<Work>& work : works_) work->wait(deadline());
    works_.clear();
    advance();
  }
}

void PeerCopies::forget_after(int64_t step) {
  for (Kept& kept : kept_)
    for (const auto& slot : kept.slots)
      if (slot && slot->sealed().step > step) slot->hide();
}

void PeerCopies::clear() {
  for (Kept& kept : kept_)
    for (std::unique_ptr<SnapshotSlot>& slot : kept.slots)
      if (slot) remove_slot(files_, slot, log_);
  on_ = false;
}

}  // namespace kente
