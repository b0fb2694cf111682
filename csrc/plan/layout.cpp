#include "csrc/plan/layout.h"

#include <algorithm>
#include <utility>

namespace kente {
namespace {

/// Clusters of more (device, node) pairs than this are planned by device alone.
constexpr size_t kMostNodeKinds = 24;

/// Enumerates layouts: pipelines in ascending order of their sequences, so that each set of
/// pipelines comes once.
class Enumeration {
 public:
  Enumeration(const RankKinds& kinds, int longest, int64_t most_pipelines, int64_t limit,
              const std::function<void(const Layout&)>& visit)
      : longest_(longest), most_pipelines_(most_pipelines), limit_(limit), visit_(visit) {
    for (int kind = 0; kind < kinds.size(); ++kind) left_.push_back(kinds.count(kind));
  }

  bool run() {
    add_pipeline({});
    return limit_ >= 0;
  }

 private:
  void add_pipeline(const KindSequence& least) {
    if (limit_ < 0 || count_pipelines(layout_) == most_pipelines_) return;
    KindSequence sequence;
    extend(sequence, least);
  }

  /// All sequences that begin with this one and are not below least.
  void extend(KindSequence& sequence, const KindSequence& least) {
    if (!sequence.empty() && sequence >= least) {
      if (--limit_ < 0) return;
      ++layout_[sequence];
      visit_(layout_);
      add_pipeline(sequence);
      if (--layout_[sequence] == 0) layout_.erase(sequence);
    }
    if (static_cast<int>(sequence.size()) == longest_) return;
    for (size_t kind = 0; kind < left_.size() && limit_ >= 0; ++kind) {
      if (left_[kind] == 0) continue;
      --left_[kind];
      sequence.push_back(static_cast<int>(kind));
      extend(sequence, least);
      sequence.pop_back();
      ++left_[kind];
    }
  }

  const int longest_;
  const int64_t most_pipelines_;
  int64_t limit_;
  const std::function<void(const Layout&)>& visit_;
  std::vector<int> left_;  // by kind
  Layout layout_;
};

}  // namespace

RankKinds::RankKinds(const RankTable& table) {
  std::map<std::pair<int, int>, std::vector<int>> by_node;
  std::map<int, std::vector<int>> by_device;
  for (int rank = 0; rank < table.num_ranks(); ++rank) {
    by_node[{table.device_of(rank), table.node_of(rank)}].push_back(rank);
    by_device[table.device_of(rank)].push_back(rank);
  }
  if (by_node.size() <= kMostNodeKinds) {
    for (auto& [key, members] : by_node) {
      device.push_back(key.first);
      ranks.push_back(std::move(members));
    }
    return;
  }
  for (auto& [key, members] : by_device) {
    device.push_back(key);
    ranks.push_back(std::move(members));
  }
}

int count_pipelines(const Layout& layout) {
  int count = 0;
  for (const auto& [sequence, times] : layout) count += times;
  return count;
}

std::vector<int> spares_of(const Layout& layout, const RankKinds& kinds) {
  std::vector<int> left;
  left.reserve(static_cast<size_t>(kinds.size()));
  for (int kind = 0; kind < kinds.size(); ++kind) left.push_back(kinds.count(kind));
  for (const auto& [sequence, times] : layout)
    for (const int kind : sequence) left[static_cast<size_t>(kind)] -= times;
  return left;
}

std::vector<PipelineRanks> write_out(const Layout& layout, const RankKinds& kinds,
                                     const RankTable& table) {
  std::vector<size_t> next(kinds.ranks.size(), 0);
  std::vector<PipelineRanks> groups;
  for (const auto& [sequence, times] : layout) {
    std::map<std::vector<bool>, PipelineRanks> by_links;
    for (int i = 0; i < times; ++i) {
      std::vector<int> ranks;
      for (const int kind : sequence) {
        const auto k = static_cast<size_t>(kind);
        ranks.push_back(kinds.ranks[k][next[k]++]);
      }
      std::vector<bool> same_node;
      for (size_t s = 0; s + 1 < ranks.size(); ++s)
        same_node.push_back(table.node_of(ranks[s]) == table.node_of(ranks[s + 1]));
      by_links[same_node].push_back(std::move(ranks));
    }
    for (auto& [links, pipelines] : by_links) groups.push_back(std::move(pipelines));
  }
  return groups;
}

bool for_all_layouts(const RankKinds& kinds, int longest, int64_t most_pipelines, int64_t limit,
                     const std::function<void(const Layout&)>& visit) {
  return Enumeration(kinds, longest, most_pipelines, limit, visit).run();
}

void deal(const DealtKinds& dealt, const RankKinds& kinds, int longest, Layout& layout) {
  if (dealt.pipelines < 1) return;
  std::vector<KindSequence> sequences(static_cast<size_t>(dealt.pipelines));
  size_t turn = 0;  // goes on from kind to kind: leftovers even out
  for (const int kind : dealt.kinds) {
    std::vector<int> given(sequences.size(), kinds.count(kind) / dealt.pipelines);
    if (dealt.leftovers == DealtKinds::Leftovers::kDealt)
      for (int i = 0; i < kinds.count(kind) % dealt.pipelines; ++i)
        ++given[turn++ % sequences.size()];
    for (size_t s = 0; s < sequences.size(); ++s)
      sequences[s].insert(sequences[s].end(), static_cast<size_t>(given[s]), kind);
  }
  for (KindSequence& sequence : sequences) {
    if (static_cast<int>(sequence.size()) > longest) sequence.resize(static_cast<size_t>(longest));
    if (!sequence.empty()) ++layout[sequence];
  }
}

}  // namespace kente
