#include "csrc/train/replica_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "csrc/base/errors.h"
#include "csrc/base/hash.h"

namespace kente {
namespace {

constexpr int kHealTag = 3;

/// Groups of which there are several holders, in the mesh's order.
template <typename Use>
void for_shared(const Mesh& mesh, const Use& use) {
  for (const Bucket& bucket : mesh.buckets)
    if (bucket.holders.size() > 1)
      for (const int group : bucket.groups) use(group, bucket.holders);
}

/// The digest that more than half of the holders have; false when there is none.
bool majority(const std::vector<uint64_t>& digests, uint64_t& found) {
  std::map<uint64_t, size_t> votes;
  for (const uint64_t digest : digests)
    if (++votes[digest] * 2 > digests.size()) {
      found = digest;
      return true;
    }
  return false;
}

}  // namespace

std::string describe(const Corruption& corruption) {
  const std::vector<int>& all = corruption.holders;
  if (corruption.culprits.empty())
    return fmt::format("ranks {} hold different bits of parameter group {}, no majority",
                       fmt::join(all, ", "), corruption.group);
  std::vector<int> others;
  std::set_difference(all.begin(), all.end(), corruption.culprits.begin(),
                      corruption.culprits.end(), std::back_inserter(others));
  return fmt::format("rank {} held other bits of parameter group {} than rank {}; healed from them",
                     fmt::join(corruption.culprits, ", "), corruption.group,
                     fmt::join(others, ", "));
}

ReplicaCheck::ReplicaCheck(const Mesh& mesh, Communicator& world, HostState& state,
                           double timeout_seconds)
    : mesh_(mesh), world_(world), state_(state), timeout_seconds_(timeout_seconds) {
  for_shared(mesh, [&](int group, const std::vector<int>& holders) {
    shared_.push_back({.group = group, .holders = &holders});
  });
}

std::vector<BufferView> ReplicaCheck::buffers_of(int group) const {
  const int64_t count = state_.parameters().layout(group).size;
  std::vector<BufferView> buffers = {
      {.data = state_.data(StateKind::kMaster, group), .count = count, .dtype = DType::kF32}};
  if (mesh_.shard_optimizer) return buffers;
  for (const StateKind moment : {StateKind::kExpAvg, StateKind::kExpAvgSq})
    buffers.push_back({.data = state_.data(moment, group), .count = count, .dtype = DType::kF32});
  return buffers;
}

ReplicaDigests ReplicaCheck::digests() const {
  state_.read();
  const size_t count = shared_.size();
  std::vector<uint64_t> mine(count), all(count * static_cast<size_t>(world_.size()));
  for (size_t i = 0; i < count; ++i) {
    if (!state_.parameters().holds(shared_[i].group)) continue;
    std::vector<uint64_t> parts;
    for (const BufferView& buffer : buffers_of(shared_[i].group))
      parts.push_back(xxh3_64(buffer.data, static_cast<size_t>(buffer.count) * sizeof(float)));
    mine[i] = xxh3_64(parts.data(), parts.size() * sizeof(uint64_t));
    world_.progress();
  }
  world_
      .all_gather(
          {.data = mine.data(), .count = static_cast<int64_t>(count), .dtype = DType::kI64},
          {.data = all.data(), .count = static_cast<int64_t>(all.size()), .dtype = DType::kI64})
      ->wait(Deadline::after_seconds(timeout_seconds_));
  ReplicaDigests digests(count);
  for (size_t i = 0; i < count; ++i)
    for (const int holder : *shared_[i].holders)
      digests[i].push_back(all[static_cast<size_t>(holder) * count + i]);
  return digests;
}

std::vector<Corruption> ReplicaCheck::heal(const ReplicaDigests& digests) const {
  std::vector<Corruption> found;
  for (size_t i = 0; i < shared_.size(); ++i) {
    const std::vector<uint64_t>& held = digests[i];
    if (std::all_of(held.begin(), held.end(), [&](uint64_t d) { return d == held[0]; })) continue;
    Corruption corruption{
        .group = shared_[i].group, .holders = *shared_[i].holders, .culprits = {}};
    uint64_t right = 0;
    if (majority(held, right)) {
      int source = -1;
      for (size_t holder = 0; holder < held.size(); ++holder) {
        const int rank = corruption.holders[holder];
        if (held[holder] != right) corruption.culprits.push_back(rank);
        if (held[holder] == right && source < 0) source = rank;
      }
      copy(corruption.group, source, corruption.culprits);
    }
    found.push_back(std::move(corruption));
  }
  return found;
}

void ReplicaCheck::copy(int group, int from, const std::vector<int>& to) const {
  const Deadline deadline = Deadline::after_seconds(timeout_seconds_);
  for (const int rank : to) {
    if (world_.rank() != rank && world_.rank() != from) continue;
    for (const BufferView& buffer : buffers_of(group))
      (world_.rank() == from ? world_.isend(buffer, rank, kHealTag)
                             : world_.irecv(buffer, from, kHealTag))
          ->wait(deadline);
    if (world_.rank() == rank) state_.write(group);
  }
}

std::vector<int> proved_wrong(const Mesh& mesh, const ReplicaDigests& then,
                              const ReplicaDigests& rerun) {
  std::set<int> wrong;
  size_t i = 0;
  for_shared(mesh, [&](int, const std::vector<int>& holders) {
    for (size_t holder = 0; holder < holders.size(); ++holder)
      if (then[i][holder] != rerun[i][holder]) wrong.insert(holders[holder]);
    ++i;
  });
  return {wrong.begin(), wrong.end()};
}

}  // namespace kente
