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
                       const std::vector<NamedTensor>& own, Snapshots& snapshots,
                       Communicator& world, FileSystem& files, Log& log)
    : options_(options),
      own_(own),
      order_(lay_out_safetensors(own).order),
      snapshots_(snapshots),
      files_(files),
      log_(log) {
  on_ = options.every > 0 && memory.leader_of.size() > 1;
  if (!on_) return;
  comm_ = world.split(0, world.rank());
  partner_ = partner_of(world.rank(), memory);
  const std::vector<std::string> layouts = all_gather_text(world, layout_text(own), deadline());
  for (int rank = 0; rank < world.size(); ++rank)
    if (partner_of(rank, memory) == world.rank() && !layouts[static_cast<size_t>(rank)].empty())
      kept_.push_back(
          {.rank = rank, .layout = layout_of(layouts[static_cast<size_t>(rank)], rank)});
}

PeerCopies::~PeerCopies() { work_.wait(); }

void PeerCopies::allocate() {
  constexpr size_t kSlots = 4;  // two pinned, two that take turns
  for (size_t slot = snapshots_.slots() + more_slots_.size(); slot < kSlots; ++slot)
    more_slots_.push_back(snapshots_.make_slot(slot, own_));
  for (Kept& kept : kept_) {
    std::unique_ptr<SnapshotSlot>& slot = kept.slots.at(next_);
    if (slot) continue;
    slot = std::make_unique<SnapshotSlot>(
        options_.directory, fmt::format("{}-rank-{:04d}-copy-{}", options_.start, kept.rank, next_),
        kept.layout);
  }
}

void PeerCopies::begin(int64_t step) {
  KENTE_CHECK(on_ && !active(), "a copy while the last one is under way");
  phase_ = Phase::kPreparing;
  step_ = step;
  manifest_.clear();
  sent_.clear();
  if (snapshots_.newest() != step) return;
  sent_ = snapshots_.pin();
  work_.start([this] {
    allocate();
    for (Kept& kept : kept_) target(kept).hide();
  });
}

/// Until there is room, and the digests of what is sent are known.
bool PeerCopies::preparing() {
  if (work_.working() || (snapshots_.newest() == step_ && snapshots_.sealing())) return true;
  if (sent_.empty() || !manifest_.empty()) return false;
  try {
    work_.rethrow();
    for (std::unique_ptr<SnapshotSlot>& slot : more_slots_) snapshots_.add(std::move(slot));
    if (const CheckpointManifest* sealed = snapshots_.sealed(step_)) manifest_ = to_json(*sealed);
  } catch (const StorageError& failure) {
    log_.error(std::string("no more copies on another node: ") + failure.what());
    for (std::unique_ptr<SnapshotSlot>& slot : more_slots_) remove_slot(files_, slot, log_);
    sent_.clear();
  }
  more_slots_.clear();
  return false;
}

bool PeerCopies::working() {
  if (phase_ == Phase::kPreparing) return preparing();
  if (phase_ == Phase::kSending)
    std::erase_if(works_, [](const std::unique_ptr<Work>& work) { return work->done(); });
  return work_.working() || !works_.empty();
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
  for (const size_t index : order_)
    works_.push_back(comm_->isend(sent_[index].data, partner_, tag++));
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

void PeerCopies::give_up() {
  on_ = false;
  failed_ = true;
  phase_ = Phase::kIdle;
  for (const int64_t step : {whole_, step_}) snapshots_.unpin(step);
}

std::optional<int64_t> PeerCopies::advance() {
  KENTE_CHECK(active() && !working(), "nothing to go on with");
  switch (phase_) {
    case Phase::kPreparing:
      phase_ = Phase::kSending;
      if (!post()) give_up();
      return std::nullopt;
    case Phase::kSending:
      phase_ = Phase::kSealing;
      work_.start([this] { seal(); });
      return std::nullopt;
    default:
      work_.rethrow();
      phase_ = Phase::kIdle;
      next_ = 1 - next_;
      snapshots_.unpin(whole_);
      return whole_ = step_;
  }
}

void PeerCopies::finish() {
  while (active()) {
    work_.wait();
    snapshots_.wait();
    if (phase_ == Phase::kPreparing) preparing();
    for (const std::unique_ptr<Work>& work : works_) work->wait(deadline());
    works_.clear();
    advance();
  }
}

void PeerCopies::forget_after(int64_t step) {
  for (Kept& kept : kept_)
    for (const auto& slot : kept.slots)
      if (slot && slot->sealed().step > step) slot->hide();
  if (whole_ <= step) return;
  snapshots_.unpin(whole_);
  whole_ = 0;
}

void PeerCopies::clear() {
  for (Kept& kept : kept_)
    for (std::unique_ptr<SnapshotSlot>& slot : kept.slots)
      if (slot) remove_slot(files_, slot, log_);
  snapshots_.unpin(whole_);
  on_ = false;
}

}  // namespace kente
