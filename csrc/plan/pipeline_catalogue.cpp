#include "csrc/plan/pipeline_catalogue.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "csrc/plan/block_split.h"

namespace kente {
namespace {

/// Splits up to this many are all simulated.
constexpr int64_t kFewSplits = 48;
/// Otherwise: splits the dynamic program names for each micro-batch size, and ways kept.
constexpr int kNamedSplits = 3;
constexpr size_t kKept = 8;
/// Shares up to this many grains are tried in micro-batches of every size.
constexpr int64_t kSmallShare = 8;

/// In how many ways blocks can be cut into stages, up to a few more than kFewSplits.
int64_t count_splits(int blocks, size_t stages) {
  if (stages == 1) return 1;
  // The first and the last stage may be empty, the others not.
  const auto bars = static_cast<int64_t>(stages) - 1;
  const int64_t free = blocks + 2 - static_cast<int64_t>(stages);
  if (free < 0) return 0;
  int64_t ways = 1;
  for (int64_t i = 1; i <= bars && ways <= kFewSplits; ++i) ways = ways * (free + i) / i;
  return ways;
}

void for_splits(std::vector<int>& blocks, size_t stage, int left,
                const std::function<void()>& visit) {
  const bool last = stage + 1 == blocks.size();
  if (last) {
    blocks[stage] = left;
    visit();
    return;
  }
  const int between = static_cast<int>(blocks.size() - stage) - 2;  // these need one block each
  for (int own = stage == 0 ? 0 : 1; own + between <= left; ++own) {
    blocks[stage] = own;
    for_splits(blocks, stage + 1, left - own, visit);
  }
}

bool faster(const PipelineOption& a, const PipelineOption& b) {
  return a.run.seconds() < b.run.seconds();
}

}  // namespace

PipelineCatalogue::PipelineCatalogue(const CostModel& model, double memory_use)
    : model_(model),
      runner_(model, memory_use),
      blocks_(static_cast<int>(model.recipe().model.num_hidden_layers)) {}

PipelineCatalogue::Key PipelineCatalogue::key_of(const std::vector<int>& ranks,
                                                 ScheduleKind schedule) const {
  Key key = {static_cast<int64_t>(schedule)};
  const RankTable& table = model_.ranks();
  for (size_t i = 0; i < ranks.size(); ++i) {
    const bool with_next =
        i + 1 < ranks.size() && table.node_of(ranks[i]) == table.node_of(ranks[i + 1]);
    key.push_back(2 * table.device_of(ranks[i]) + (with_next ? 1 : 0));
  }
  return key;
}

std::vector<int64_t> PipelineCatalogue::micro_batch_sizes(const std::vector<int>& ranks,
                                                          int64_t share) const {
  if (model_.recipe().numerics.reduction == Reduction::kExact) return {1};
  std::vector<int64_t> measured;
  for (const int rank : ranks) {
    const auto device = static_cast<size_t>(model_.ranks().device_of(rank));
    const LayerCurve* curve =
        model_.cluster().devices[device].curve(LayerKind::kBlock, model_.recipe().numerics.compute);
    for (const LayerSeconds& at : curve->at) measured.push_back(at.grains);
  }
  const int64_t most = std::min(share, *std::max_element(measured.begin(), measured.end()));
  std::vector<int64_t> sizes;
  if (share <= kSmallShare)
    for (int64_t size = 1; size <= most; ++size) sizes.push_back(size);
  for (const int64_t size : measured) {
    if (size > share) continue;
    sizes.push_back(size);
    // As many micro-batches, but none much smaller than the others.
    const int64_t count = (share + size - 1) / size;
    sizes.push_back((share + count - 1) / count);
  }
  if (sizes.empty()) sizes.push_back(1);
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes;
}

void PipelineCatalogue::add(std::vector<PipelineOption>& found, const PipelineSpec& spec,
                            ScheduleKind schedule) {
  PipelineRun run = runner_.run(spec, schedule);
  if (run.total_lacking() > 0) return;
  found.push_back({.blocks = spec.blocks,
                   .grains_per_micro_batch = spec.grains_per_micro_batch,
                   .run = std::move(run)});
}

void PipelineCatalogue::add_all_splits(std::vector<PipelineOption>& found, PipelineSpec spec,
                                       ScheduleKind schedule) {
  spec.blocks.assign(spec.ranks.size(), 0);
  std::vector<int> blocks = spec.blocks;
  for_splits(blocks, 0, blocks_, [&] {
    spec.blocks = blocks;
    add(found, spec, schedule);
  });
}

void PipelineCatalogue::add_good_splits(std::vector<PipelineOption>& found, PipelineSpec spec,
                                        ScheduleKind schedule) {
  const auto tables = runner_.stage_tables(spec, schedule, PipelineRunner::Fill::kSeconds);
  const double count =
      std::ceil(static_cast<double>(spec.share) / static_cast<double>(spec.grains_per_micro_batch));
  // No schedule beats its dearest stage: a size that cannot win is not simulated.
  if (!found.empty() &&
      (count - 1) * least_bottleneck(tables, blocks_) > found.front().run.seconds())
    return;
  for (const std::vector<int>& blocks : split_blocks(tables, blocks_, count, kNamedSplits)) {
    spec.blocks = blocks;
    add(found, spec, schedule);
  }
  std::stable_sort(found.begin(), found.end(), faster);
}

void PipelineCatalogue::improve(std::vector<PipelineOption>& found, PipelineSpec spec,
                                ScheduleKind schedule) {
  if (found.empty()) return;
  const size_t stages = spec.ranks.size();
  for (bool better = true; better;) {
    better = false;
    const PipelineOption best = found.front();
    spec.grains_per_micro_batch = best.grains_per_micro_batch;
    for (size_t from = 0; from < stages; ++from) {
      const int least = from == 0 || from + 1 == stages ? 0 : 1;
      if (best.blocks[from] <= least) continue;
      for (const size_t to : {from - 1, from + 1}) {
        if (to >= stages) continue;
        spec.blocks = best.blocks;
        --spec.blocks[from];
        ++spec.blocks[to];
        add(found, spec, schedule);
      }
    }
    std::stable_sort(found.begin(), found.end(), faster);
    better = found.front().run.seconds() < best.run.seconds() * (1 - 1e-9);
  }
}

const std::vector<PipelineOption>& PipelineCatalogue::options(const std::vector<int>& ranks,
                                                              int64_t share,
                                                              ScheduleKind schedule) {
  Key key = key_of(ranks, schedule);
  key.push_back(share);
  const auto [entry, fresh] = options_.try_emplace(std::move(key));
  std::vector<PipelineOption>& found = entry->second;
  if (!fresh) return found;
  const int64_t splits = count_splits(blocks_, ranks.size());
  if (splits == 0) return found;
  PipelineSpec spec{.ranks = ranks, .blocks = {}, .share = share, .grains_per_micro_batch = 1};
  for (const int64_t size : micro_batch_sizes(ranks, share)) {
    spec.grains_per_micro_batch = size;
    if (splits <= kFewSplits) {
      add_all_splits(found, spec, schedule);
    } else {
      add_good_splits(found, spec, schedule);
    }
  }
  std::stable_sort(found.begin(), found.end(), faster);
  if (splits > kFewSplits) {
    improve(found, spec, schedule);
    if (found.size() > kKept) found.resize(kKept);
  }
  return found;
}

double PipelineCatalogue::seconds(const std::vector<int>& ranks, int64_t share,
                                  ScheduleKind schedule) {
  const std::vector<PipelineOption>& found = options(ranks, share, schedule);
  return found.empty() ? std::numeric_limits<double>::infinity() : found.front().run.seconds();
}

double PipelineCatalogue::most_grains_per_second(const std::vector<int>& ranks,
                                                 ScheduleKind schedule) {
  if (count_splits(blocks_, ranks.size()) == 0) return 0;
  const auto [entry, fresh] = rates_.try_emplace(key_of(ranks, schedule), 0.0);
  if (!fresh) return entry->second;
  PipelineSpec spec{.ranks = ranks, .blocks = {}, .share = 1, .grains_per_micro_batch = 1};
  const int64_t all = model_.recipe().grains_per_step();
  for (const int64_t size : micro_batch_sizes(ranks, all)) {
    // One micro-batch needs the least memory: the bound must not refuse what may fit.
    spec.share = size;
    spec.grains_per_micro_batch = size;
    const auto tables = runner_.stage_tables(spec, schedule, PipelineRunner::Fill::kSeconds);
    entry->second =
        std::max(entry->second, static_cast<double>(size) / least_bottleneck(tables, blocks_));
  }
  return entry->second;
}

PipelineOption PipelineCatalogue::nearest(const std::vector<int>& ranks, int64_t share,
                                          ScheduleKind schedule) {
  PipelineSpec spec{.ranks = ranks, .blocks = {}, .share = share, .grains_per_micro_batch = 1};
  const auto tables = runner_.stage_tables(spec, schedule, PipelineRunner::Fill::kLacking);
  const auto splits = split_blocks(tables, blocks_, 1, 1);
  PipelineOption option;
  if (splits.empty()) return option;
  spec.blocks = splits.front();
  option.blocks = spec.blocks;
  option.run = runner_.run(spec, schedule);
  return option;
}

}  // namespace kente
