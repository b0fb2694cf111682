#include "csrc/plan/describe.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <numeric>
#include <vector>

#include "csrc/config/model_layout.h"
#include "csrc/plan/flops.h"
#include "csrc/plan/memory.h"

namespace kente {
namespace {

constexpr size_t kColumns = 9;
using PlanRow = std::array<std::string, kColumns>;

/// printf into a string.
template <typename... Values>
std::string format(const char* pattern, Values... values) {
  char text[160];
  std::snprintf(text, sizeof text, pattern, values...);
  return text;
}

/// 1 grain, 2 grains.
std::string count_of(int64_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

std::string human(double count) {
  if (count >= 1e9) return format("%.2f G", count / 1e9);
  if (count >= 1e6) return format("%.1f M", count / 1e6);
  if (count >= 1e3) return format("%.1f k", count / 1e3);
  return format("%.0f", count);
}

std::string memory_of(int64_t bytes) {
  const double mib = static_cast<double>(bytes) / (1 << 20);
  return mib < 1000 ? format("%.0f MiB", mib) : format("%.2f GiB", mib / 1024);
}

std::string layers_of(const ModelConfig& model, const LayerRange& range) {
  const int head = model.num_layers() - 1;
  const int first = std::max(range.first, 1);
  const int last = std::min(range.last, head - 1);
  std::vector<std::string> parts;
  if (range.first == 0) parts.push_back("embedding");
  if (first < last) parts.push_back(format("%d-%d", first, last));
  if (first == last) parts.push_back(format("%d", first));
  if (range.last == head) parts.push_back("head");
  std::string text;
  for (const std::string& part : parts) {
    if (!text.empty()) text += ", ";
    text += part;
  }
  return text;
}

std::string micro_batches_of(const MeshReplica& replica) {
  const std::vector<MeshMicroBatch>& batches = replica.micro_batches;
  std::string text =
      format("%zu x %lld", batches.size(), static_cast<long long>(batches.front().grains));
  if (batches.back().grains != batches.front().grains)
    text = format("%zu x %lld + %lld", batches.size() - 1,
                  static_cast<long long>(batches.front().grains),
                  static_cast<long long>(batches.back().grains));
  return text;
}

PlanRow row_of(const Recipe& recipe, const Plan& plan, const Mesh& mesh, int rank, int64_t bytes) {
  const int r = mesh.replica_of(rank);
  if (r < 0) return {std::to_string(rank), "-", "-", "spare", "", "", "", "", memory_of(bytes)};
  const MeshReplica& replica = mesh.replicas[static_cast<size_t>(r)];
  const ReplicaPlan& planned = plan.replicas[static_cast<size_t>(r)];
  const std::vector<double> flops = forward_flops_per_token(recipe.model, recipe.sequence_length);
  std::string layers;
  double own = 0;
  int stage = 0;
  for (const int c : mesh.chunks_of(rank)) {
    const MeshChunk& chunk = replica.chunks[static_cast<size_t>(c)];
    stage = chunk.stage;
    if (!layers.empty()) layers += "; ";
    layers += layers_of(recipe.model, chunk.layers);
    own += std::accumulate(flops.begin() + chunk.layers.first,
                           flops.begin() + chunk.layers.last + 1, 0.0);
  }
  const StagePlan& how = planned.stages[static_cast<size_t>(stage)];
  std::string dtype(name_of(how.compute));
  if (how.recompute == Recompute::kFull) dtype += ", recompute";
  const double all = std::accumulate(flops.begin(), flops.end(), 0.0);
  return {std::to_string(rank),
          std::to_string(r),
          format("%d of %zu", stage + 1, planned.stages.size()),
          layers,
          format("%.0f %%", 100 * own / all),
          format("%lld of %lld", static_cast<long long>(planned.share),
                 static_cast<long long>(recipe.grains_per_step())),
          micro_batches_of(replica),
          dtype,
          memory_of(bytes)};
}

std::string table(const std::vector<PlanRow>& rows) {
  std::array<size_t, kColumns> widths{};
  for (const PlanRow& row : rows)
    for (size_t c = 0; c < kColumns; ++c) widths[c] = std::max(widths[c], row[c].size());
  std::string text;
  for (const PlanRow& row : rows) {
    std::string line = " ";
    for (size_t c = 0; c < kColumns; ++c) {
      const std::string pad(widths[c] - row[c].size(), ' ');
      // Words to the left, numbers to the right.
      const bool is_word = c == 3 || c == 7;
      line += " ";
      line += is_word ? row[c] + pad : pad + row[c];
      line += " ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string ranks_text(const std::vector<int>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(ranks[i]);
  }
  return text;
}

/// One line a reduction: how much travels between whom.
std::string reductions(const Recipe& recipe, const Mesh& mesh) {
  const std::vector<ParamGroup> layout = model_layout(recipe.model);
  std::string text;
  for (const Bucket& bucket : mesh.buckets) {
    if (bucket.holders.size() == 1) continue;
    int64_t elements = 0;
    for (const int group : bucket.groups) elements += layout[static_cast<size_t>(group)].size;
    text += "  sums the gradients of " + human(static_cast<double>(elements)) +
            " parameters over " + ranks_text(bucket.holders) + "\n";
  }
  return text;
}

}  // namespace

std::string describe(const Recipe& recipe, const Plan& plan, const Mesh& mesh) {
  std::string text = format("%s: %s parameters, ", recipe.name.substr(0, 60).c_str(),
                            human(static_cast<double>(parameter_count(recipe.model))).c_str()) +
                     count_of(recipe.model.num_hidden_layers, "block") +
                     format("; a step is %s tokens: ",
                            human(static_cast<double>(recipe.global_batch_tokens)).c_str()) +
                     count_of(recipe.grains_per_step(), "grain") +
                     format(" of %lld x %lld\n", static_cast<long long>(recipe.grain_samples),
                            static_cast<long long>(recipe.sequence_length));
  text += count_of(static_cast<int64_t>(plan.replicas.size()), "replica") + " on " +
          count_of(mesh.num_ranks, "rank") + ", schedule " + name_of(plan.schedule) +
          ", reduction " + (recipe.numerics.reduction == Reduction::kExact ? "EXACT" : "FAST") +
          "\n\n";
  std::vector<PlanRow> rows = {
      {"rank", "replica", "stage", "layers", "FLOPs", "grains", "batches", "dtype", "memory"}};
  const std::vector<int64_t> bytes = predict_peak_bytes(recipe, plan, mesh);
  for (int rank = 0; rank < mesh.num_ranks; ++rank)
    rows.push_back(row_of(recipe, plan, mesh, rank, bytes[static_cast<size_t>(rank)]));
  text += table(rows);
  const std::string sums = reductions(recipe, mesh);
  if (!sums.empty()) text += "\n" + sums;
  return text;
}

}  // namespace kente
