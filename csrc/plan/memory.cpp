#include "csrc/plan/memory.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "csrc/base/micro_batch.h"
#include "csrc/plan/shards.h"

// Bytes a token that layers keep, as csrc/nn/layers.h states them (e: bytes of the compute dtype, 4
// or 2; W = (H + 2K) head_dim; U = F for gpt2, 2F else; s = 8 for gpt2, 4 else):
//   block   e (5 D + W + U + F) + 4 H + 2 s from forward to backward_input, then without 4 H + 2 s;
//           recompute FULL: e D until backward_input, which runs the forward again
//   head    e 2 D + 4 V + s
// The largest transient: in a block e max(F, 3 D + W), bf16 also 4 max(U, F, W, D) for the f32
// product of a GEMM; in the head e D; bf16: MKL's GEMM for the weight gradient works on two copies
// of dlogits and one of the f32 result, 4 V a token + 4 V D. Measured, like the constants below, on
// GPT-2 124M with 4 x 256 tokens: peak resident 2,997 MiB in f32 (predicted 3,006) and 3,294 MiB in
// bf16 (predicted 3,231).

namespace kente {
namespace {

/// libtorch's code and tables that were touched (111 MiB), and MKL's buffers.
constexpr int64_t kProcessBytes = int64_t{150} << 20;
/// malloc keeps a part of what was freed: one byte in so many of the activations.
constexpr int64_t kHeldBackPart = 5;

struct ModelSizes {
  int64_t d, f, w, u, h, vocabulary, stats;
};

ModelSizes sizes_of(const ModelConfig& model) {
  const bool gpt2 = model.family == ModelFamily::kGpt2;
  const int64_t heads = model.num_attention_heads + 2 * model.num_key_value_heads;
  return {.d = model.hidden_size,
          .f = model.intermediate_size,
          .w = heads * model.head_dim(),
          .u = (gpt2 ? 1 : 2) * model.intermediate_size,
          .h = model.num_attention_heads,
          .vocabulary = model.vocab_size,
          .stats = gpt2 ? 8 : 4};
}

/// One chunk's layers and how they compute.
struct ChunkShape {
  int64_t blocks = 0;
  bool has_head = false;
  int64_t element = 4;  // bytes
  Recompute recompute = Recompute::kNone;
};

ChunkShape shape_of(const ModelConfig& model, const Plan& plan, int replica,
                    const MeshChunk& chunk) {
  const int head = model.num_layers() - 1;
  const StagePlan& stage =
      plan.replicas.at(static_cast<size_t>(replica)).stages.at(static_cast<size_t>(chunk.stage));
  return {.blocks = std::min(chunk.layers.last, head - 1) - std::max(chunk.layers.first, 1) + 1,
          .has_head = chunk.layers.last == head,
          .element = size_of(stage.compute),
          .recompute = stage.recompute};
}

int64_t whole_block(const ModelSizes& m, int64_t element) {
  return element * (5 * m.d + m.w + m.u + m.f) + 4 * m.h + 2 * m.stats;
}

/// Bytes a token that one action adds to what the chunk keeps.
int64_t kept_per_token(const ModelSizes& m, const ChunkShape& chunk, ActionKind kind) {
  const int64_t e = chunk.element;
  const int64_t after_backward = e * (5 * m.d + m.w + m.u + m.f);
  const int64_t after_forward = chunk.recompute == Recompute::kFull ? e * m.d : whole_block(m, e);
  const int64_t head_forward = 2 * e * m.d + 4 * m.vocabulary + m.stats;
  const int64_t head_backward = e * m.d + 4 * m.vocabulary;
  switch (kind) {
    case ActionKind::kForward:
      return chunk.blocks * after_forward + (chunk.has_head ? head_forward : 0);
    case ActionKind::kBackwardInput:
      return chunk.blocks * (after_backward - after_forward) +
             (chunk.has_head ? head_backward - head_forward : 0);
    case ActionKind::kBackwardWeight:
      return -chunk.blocks * after_backward - (chunk.has_head ? head_backward : 0);
    default:
      return 0;
  }
}

/// What the neediest layer of the chunk takes besides, for a micro-batch of so many tokens.
int64_t transient_bytes(const ModelSizes& m, const ChunkShape& chunk, int64_t tokens) {
  const int64_t e = chunk.element;
  const bool half = e == 2;
  int64_t block = e * std::max(m.f, 3 * m.d + m.w);
  if (half) block = std::max(block, 4 * std::max({m.u, m.f, m.w, m.d}));
  if (chunk.recompute == Recompute::kFull) block += whole_block(m, e);
  int64_t head = tokens * e * m.d;
  if (half) head = 4 * m.vocabulary * (tokens + m.d);
  return std::max(chunk.blocks > 0 ? tokens * block : 0, chunk.has_head ? head : 0);
}

/// Indices of the groups of which the rank holds a layer.
std::vector<size_t> held_groups(const std::vector<ParamGroup>& layout, const Mesh& mesh, int rank) {
  const std::vector<int> layers = mesh.layers_of(rank);
  std::vector<size_t> held;
  for (size_t group = 0; group < layout.size(); ++group)
    if (std::any_of(layout[group].layers.begin(), layout[group].layers.end(), [&](int layer) {
          return std::binary_search(layers.begin(), layers.end(), layer);
        }))
      held.push_back(group);
  return held;
}

void add_state(const Recipe& recipe, const std::vector<ParamGroup>& layout, const Mesh& mesh,
               int rank, int64_t element, MemoryPrediction& memory) {
  if (mesh.shard_optimizer)
    for (const ElementRange& shard : optimizer_shards_of(rank, mesh, layout))
      memory.optimizer += shard.size() * 8;
  int64_t largest = 0;
  for (const size_t index : held_groups(layout, mesh, rank)) {
    const ParamGroup& group = layout[index];
    const bool exact = recipe.numerics.reduction == Reduction::kExact;
    memory.parameters += group.size * (4 + (element == 4 ? 0 : element));
    memory.gradients += group.size * (exact ? 8 : 4);
    if (!mesh.shard_optimizer) memory.optimizer += group.size * 8;
    largest = std::max(largest, exact ? 4 * group.size : 0);
  }
  memory.gradients += largest;
}

/// Parameters among a group's elements: what lies between them only pads.
int64_t parameters_in(const ParamGroup& group, const ElementRange& elements) {
  int64_t count = 0;
  for (const ParamSpec& spec : group.params)
    count += intersect(elements, {.begin = spec.offset, .end = spec.offset + spec.count}).size();
  return count;
}

/// What a rank stores of the state, as Recovery::own_tensors lists it. One replica of several (no
/// buckets) stores all it holds.
int64_t stored_bytes(const std::vector<ParamGroup>& layout, const Mesh& mesh, int rank) {
  constexpr int64_t kMaster = 4, kMoments = 8;  // bytes a parameter
  int64_t bytes = 0;
  if (mesh.shard_optimizer) {
    const std::vector<ElementRange> shards = optimizer_shards_of(rank, mesh, layout);
    for (size_t group = 0; group < layout.size(); ++group)
      bytes += kMoments * parameters_in(layout[group], shards[group]);
  }
  const auto add = [&](size_t group) {
    bytes += (kMaster + (mesh.shard_optimizer ? 0 : kMoments)) *
             parameters_in(layout[group], {.begin = 0, .end = layout[group].size});
  };
  if (mesh.buckets.empty())
    for (const size_t group : held_groups(layout, mesh, rank)) add(group);
  for (const Bucket& bucket : mesh.buckets)
    for (const int group : bucket.groups)
      if (bucket.storer(group) == rank) add(static_cast<size_t>(group));
  return bytes;
}

/// The most that each rank's schedule keeps at once.
std::vector<int64_t> peak_activations(const Recipe& recipe, const Plan& plan, const Mesh& mesh,
                                      const std::vector<ActionList>& schedule) {
  const ModelSizes model = sizes_of(recipe.model);
  const int64_t grain_tokens = recipe.grain_samples * recipe.sequence_length;
  std::vector<int64_t> peaks;
  constexpr ActionKind kPasses[] = {ActionKind::kForward, ActionKind::kBackwardInput,
                                    ActionKind::kBackwardWeight};
  std::vector<std::array<int64_t, 3>> kept_by_chunk;  // bytes a grain, by pass
  for (int rank = 0; rank < mesh.num_ranks; ++rank) {
    int64_t kept = 0, peak = 0;
    const int r = mesh.replica_of(rank);
    if (r >= 0) {
      const MeshReplica& replica = mesh.replicas[static_cast<size_t>(r)];
      kept_by_chunk.resize(replica.chunks.size());
      for (const int c : mesh.chunks_of(rank)) {
        const auto at = static_cast<size_t>(c);
        const ChunkShape chunk = shape_of(recipe.model, plan, r, replica.chunks[at]);
        for (size_t pass = 0; pass < 3; ++pass)
          kept_by_chunk[at][pass] = grain_tokens * kept_per_token(model, chunk, kPasses[pass]);
      }
    }
    for (const Action& action : schedule[static_cast<size_t>(rank)]) {
      const auto* const pass = std::ranges::find(kPasses, action.kind);
      if (action.chunk < 0 || pass == std::end(kPasses)) continue;
      const MeshReplica& replica = mesh.replicas[static_cast<size_t>(r)];
      const int64_t grains = replica.micro_batches[static_cast<size_t>(action.micro_batch)].grains;
      kept += grains * kept_by_chunk[static_cast<size_t>(action.chunk)]
                                    [static_cast<size_t>(pass - std::begin(kPasses))];
      peak = std::max(peak, kept);
    }
    peaks.push_back(peak);
  }
  return peaks;
}

}  // namespace

std::vector<MemoryPrediction> predict_memory(const Recipe& recipe, const Plan& plan,
                                             const Mesh& mesh, int state_copies) {
  return predict_memory(recipe, plan, mesh, model_layout(recipe.model),
                        make_schedule(mesh, plan.schedule), state_copies);
}

std::vector<MemoryPrediction> predict_memory(const Recipe& recipe, const Plan& plan,
                                             const Mesh& mesh,
                                             const std::vector<ParamGroup>& layout,
                                             const std::vector<ActionList>& schedule,
                                             int state_copies) {
  const ModelSizes model = sizes_of(recipe.model);
  const std::vector<int64_t> activations = peak_activations(recipe, plan, mesh, schedule);
  std::vector<MemoryPrediction> predictions(static_cast<size_t>(mesh.num_ranks));
  for (int rank = 0; rank < mesh.num_ranks; ++rank) {
    MemoryPrediction& memory = predictions[static_cast<size_t>(rank)];
    memory.process = kProcessBytes;
    const int r = mesh.replica_of(rank);
    if (r < 0) continue;
    const MeshReplica& replica = mesh.replicas[static_cast<size_t>(r)];
    const int64_t grain_tokens = recipe.grain_samples * recipe.sequence_length;
    const int64_t tokens = grain_tokens * replica.micro_batches.front().grains;
    int64_t step_tokens = 0;
    for (const MeshMicroBatch& batch : replica.micro_batches)
      step_tokens += grain_tokens * batch.grains;

    int64_t layer = 0, element = 4;
    // Each border with another rank holds a message each way, under zero-bubble as many as may be
    // under way.
    const int64_t messages = plan.schedule == ScheduleKind::kZeroBubble ? replica.under_way : 1;
    const int64_t message = 2 * messages * tokens * model.d * size_of(recipe.numerics.boundary);
    for (const int c : mesh.chunks_of(rank)) {
      const MeshChunk& held = replica.chunks[static_cast<size_t>(c)];
      const ChunkShape chunk = shape_of(recipe.model, plan, r, held);
      element = chunk.element;
      layer = std::max(layer, transient_bytes(model, chunk, tokens));
      if (c > 0) memory.transient += message;
      if (!chunk.has_head) memory.transient += message;
    }
    memory.transient += layer + step_tokens * MicroBatch::kFields * size_of(DType::kI32);
    memory.activations = activations[static_cast<size_t>(rank)];
    memory.process += memory.activations / kHeldBackPart;
    add_state(recipe, layout, mesh, rank, element, memory);
    if (state_copies > 0) memory.snapshots = state_copies * stored_bytes(layout, mesh, rank);
  }
  return predictions;
}

std::vector<int64_t> predict_peak_bytes(const Recipe& recipe, const Plan& plan, const Mesh& mesh) {
  std::vector<int64_t> totals;
  for (const MemoryPrediction& memory : predict_memory(recipe, plan, mesh))
    totals.push_back(memory.total());
  return totals;
}

}  // namespace kente
