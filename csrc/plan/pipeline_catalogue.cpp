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
/// In pipelines of up to so many stages any stage may give up a block, in longer ones the busiest.
constexpr size_t kShortPipeline = 8;

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

PipelineCatalogue::PipelineCatalogue(const CostModel& model, double memory_use, Effort effort)
    : model_(model),
      runner_(model, memory_use),
      effort_(effort),
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
        model_.cluster().devices[device].curve(LayerKind::kBlock, model_.compute_of_rank(rank));
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
  const int named = effort_ == Effort::kQuick ? 1 : kNamedSplits;
  for (const std::vector<int>& blocks : split_blocks(tables, blocks_, count, named)) {
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
    const PipelineOption best = found.front();
    spec.grains_per_micro_batch = best.grains_per_micro_batch;
    const std::vector<double>& busy = best.run.busy;
    const auto busiest =
        static_cast<size_t>(std::max_element(busy.begin(), busy.end()) - busy.begin());
    for (size_t from = 0; from < stages; ++from) {
      if (stages > kShortPipeline && from != busiest) continue;
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
  for (const int64_t size : sizes_to_try(ranks, share, schedule)) {
    spec.grains_per_micro_batch = size;
    if (splits <= kFewSplits && effort_ == Effort::kThorough) {
      add_all_splits(found, spec, schedule);
    } else {
      add_good_splits(found, spec, schedule);
    }
    if (effort_ == Effort::kQuick && !found.empty()) break;
  }
  std::stable_sort(found.begin(), found.end(), faster);
  if (splits > kFewSplits) {
    if (effort_ == Effort::kThorough) improve(found, spec, schedule);
    if (found.size() > kKept) found.resize(kKept);
  }
  return found;
}

const PipelineOption* PipelineCatalogue::aligned(const std::vector<int>& ranks, int64_t share,
                                                 ScheduleKind schedule,
                                                 const std::vector<int>& borders) {
  Key key = key_of(ranks, schedule);
  key.push_back(share);
  key.push_back(-1);
  key.insert(key.end(), borders.begin(), borders.end());
  const auto [entry, fresh] = aligned_.try_emplace(std::move(key));
  std::vector<PipelineOption>& found = entry->second;
  if (fresh && count_splits(blocks_, ranks.size()) > 0) {
    PipelineSpec spec{.ranks = ranks, .blocks = {}, .share = share, .grains_per_micro_batch = 1};
    for (const int64_t size : sizes_to_try(ranks, share, schedule)) {
      spec.grains_per_micro_batch = size;
      const auto tables = runner_.stage_tables(spec, schedule, PipelineRunner::Fill::kSeconds);
      const int64_t micro_batches = (share + size - 1) / size;
      const auto count = static_cast<double>(micro_batches);
      for (const std::vector<int>& blocks : split_blocks(tables, blocks_, count, 1, borders)) {
        spec.blocks = blocks;
        add(found, spec, schedule);
      }
      if (effort_ == Effort::kQuick && !found.empty()) break;
    }
    std::stable_sort(found.begin(), found.end(), faster);
  }
  return found.empty() ? nullptr : &found.front();
}

const PipelineOption* PipelineCatalogue::rescheduled(const PipelineOption& option,
                                                     const std::vector<int>& ranks, int64_t share,
                                                     ScheduleKind schedule) {
  Key key = key_of(ranks, schedule);
  key.push_back(share);
  key.push_back(option.grains_per_micro_batch);
  key.insert(key.end(), option.blocks.begin(), option.blocks.end());
  const auto [entry, fresh] = rescheduled_.try_emplace(std::move(key));
  if (fresh)
    add(entry->second,
        {.ranks = ranks,
         .blocks = option.blocks,
         .share = share,
         .grains_per_micro_batch = option.grains_per_micro_batch},
        schedule);
  return entry->second.empty() ? nullptr : &entry->second.front();
}

double PipelineCatalogue::seconds(const std::vector<int>& ranks, int64_t share,
                                  ScheduleKind schedule) {
  double least = std::numeric_limits<double>::infinity();
  if (effort_ == Effort::kQuick) {
    for (const Pace& pace : paces(ranks, schedule))
      if (pace.grains <= share) least = std::min(least, pace.seconds(share));
    return least;
  }
  const std::vector<PipelineOption>& found = options(ranks, share, schedule);
  return found.empty() ? least : found.front().run.seconds();
}

double PipelineCatalogue::Pace::seconds(int64_t share) const {
  const int64_t micro_batches = (share + grains - 1) / grains;
  return sum + static_cast<double>(micro_batches - 1) * dearest;
}

const std::vector<PipelineCatalogue::Pace>& PipelineCatalogue::paces(const std::vector<int>& ranks,
                                                                     ScheduleKind schedule) {
  const auto [entry, fresh] = paces_.try_emplace(key_of(ranks, schedule));
  std::vector<Pace>& found = entry->second;
  if (!fresh || count_splits(blocks_, ranks.size()) == 0) return found;
  PipelineSpec spec{.ranks = ranks, .blocks = {}, .share = 1, .grains_per_micro_batch = 1};
  for (const int64_t size : micro_batch_sizes(ranks, model_.recipe().grains_per_step())) {
    // One micro-batch needs the least memory: a bound must not refuse what may fit.
    spec.share = size;
    spec.grains_per_micro_batch = size;
    const auto tables = runner_.stage_tables(spec, schedule, PipelineRunner::Fill::kSeconds);
    const double dearest = least_bottleneck(tables, blocks_);
    if (!std::isfinite(dearest)) continue;
    // Stages are about as dear as the dearest: else it would have given up a block.
    found.push_back(
        {.grains = size, .sum = dearest * static_cast<double>(ranks.size()), .dearest = dearest});
  }
  return found;
}

bool PipelineCatalogue::fits_full(const std::vector<int>& ranks, ScheduleKind schedule) {
  const auto stages = static_cast<int64_t>(ranks.size());
  if (count_splits(blocks_, ranks.size()) == 0) return false;
  const PipelineSpec spec{
      .ranks = ranks, .blocks = {}, .share = stages + 1, .grains_per_micro_batch = 1};
  const auto tables = runner_.stage_tables(spec, schedule, PipelineRunner::Fill::kSeconds);
  return std::isfinite(least_bottleneck(tables, blocks_));
}

std::vector<int64_t> PipelineCatalogue::sizes_to_try(const std::vector<int>& ranks, int64_t share,
                                                     ScheduleKind schedule) {
  if (effort_ == Effort::kThorough) return micro_batch_sizes(ranks, share);
  std::vector<std::pair<double, int64_t>> order;
  for (const Pace& pace : paces(ranks, schedule))
    if (pace.grains <= share) order.emplace_back(pace.seconds(share), pace.grains);
  std::sort(order.begin(), order.end());
  std::vector<int64_t> sizes;
  sizes.reserve(order.size());
  for (const auto& [seconds, grains] : order) sizes.push_back(grains);
  return sizes;
}

double PipelineCatalogue::most_grains_per_second(const std::vector<int>& ranks,
                                                 ScheduleKind schedule) {
  double most = 0;
  for (const Pace& pace : paces(ranks, schedule))
    most = std::max(most, static_cast<double>(pace.grains) / pace.dearest);
  return most;
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
