#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "csrc/plan/cost_model.h"

namespace kente {

/// Ranks that are interchangeable: one device entry, on one node while nodes are few.
struct RankKinds {
  std::vector<std::vector<int>> ranks;  // by kind, ascending
  std::vector<int> device;              // by kind: index into ClusterProfile::devices

  explicit RankKinds(const RankTable& table);
  int count(int kind) const { return static_cast<int>(ranks[static_cast<size_t>(kind)].size()); }
  int size() const { return static_cast<int>(ranks.size()); }
};

/// The kinds of a pipeline's ranks, first stage first.
using KindSequence = std::vector<int>;

/// Who works with whom: how many pipelines of each sequence. Ranks in none are spares.
using Layout = std::map<KindSequence, int>;

/// Pipelines alike in devices and links, each the ranks of its stages.
using PipelineRanks = std::vector<std::vector<int>>;

int count_pipelines(const Layout& layout);
/// How many ranks of each kind the layout leaves out; negative: uses more than there are.
std::vector<int> spares_of(const Layout& layout, const RankKinds& kinds);

/// Gives the pipelines ranks, lowest first, so that neighbours tend to share a node.
std::vector<PipelineRanks> write_out(const Layout& layout, const RankKinds& kinds,
                                     const RankTable& table);

/// Calls visit for every layout with at least one pipeline, none longer than longest and at most
/// most_pipelines of them, spares allowed. Stops and returns false after limit layouts.
bool for_all_layouts(const RankKinds& kinds, int longest, int64_t most_pipelines, int64_t limit,
                     const std::function<void(const Layout&)>& visit);

/// Kinds that are dealt out together to so many pipelines, as evenly as they go; ranks of the first
/// kind stand first. Pipelines are cut at longest: what is beyond are spares. What does not go
/// round lengthens some pipelines, or stays spare: then all are alike and can be cut alike.
struct DealtKinds {
  enum class Leftovers { kDealt, kSpare };
  std::vector<int> kinds;
  int pipelines = 0;
  Leftovers leftovers = Leftovers::kDealt;
};
void deal(const DealtKinds& dealt, const RankKinds& kinds, int longest, Layout& layout);

}  // namespace kente
