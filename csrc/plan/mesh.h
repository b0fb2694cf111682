#pragma once

#include <cstdint>
#include <vector>

#include "csrc/config/model_layout.h"
#include "csrc/config/plan.h"
#include "csrc/config/recipe.h"

namespace kente {

/// Contiguous layers on one rank of one replica: a virtual pipeline stage. A replica's chunks are
/// in layer order.
struct MeshChunk {
  LayerRange layers;
  int rank = 0;
  int stage = 0;  // index into ReplicaPlan::stages
  /// Of a stage with one range: what its plan says, or else so much a layer.
  PassTimes times = {};
};

/// Micro-batch i of a replica: grains [first_grain, first_grain + grains) of the step.
struct MeshMicroBatch {
  int64_t first_grain = 0;
  int64_t grains = 0;
};

struct MeshReplica {
  std::vector<MeshChunk> chunks;
  std::vector<MeshMicroBatch> micro_batches;
  int64_t under_way = 0;  // see ReplicaPlan; never 0 in a mesh of make_mesh
};

/// Gradients reduced together: a maximal run of parameter groups with the same holders.
struct Bucket {
  std::vector<int> groups;   // in the order of reduction: descending, the tied group last
  std::vector<int> holders;  // ranks, ascending; a bucket with one holder needs no communication
  std::vector<int64_t> optimizer_weights;  // by holder; empty unless the plan shards the state

  /// Who stores a group of it for all: holders have equal bits and take turns.
  int storer(int group) const { return holders[static_cast<size_t>(group) % holders.size()]; }
};

/// A plan resolved against a recipe: who holds what, in the words the step uses. Pure.
struct Mesh {
  int num_ranks = 0;
  std::vector<MeshReplica> replicas;
  /// In the one global order in which all ranks issue collectives: group descending, so that the
  /// head's gradients, ready first, go first; a tied embedding's group, ready last, goes last.
  std::vector<Bucket> buckets;
  bool shard_optimizer = false;
  /// Per rank: its replica and, of the replica's chunks, those it holds. index_ranks() fills it.
  struct Place {
    int replica = -1;
    std::vector<int> chunks;
  };
  std::vector<Place> places;

  /// To be called once replicas are complete; make_mesh did.
  void index_ranks();
  /// The replica of a rank, -1 for a spare.
  int replica_of(int rank) const;
  /// Indices into replicas[replica].chunks that the rank holds, ascending.
  const std::vector<int>& chunks_of(int rank) const;
  /// Layers a rank holds, ascending.
  std::vector<int> layers_of(int rank) const;
  /// Whether the rank holds layer 0 and so reads token files.
  bool reads_data(int rank) const;
};

/// num_ranks: ranks there are; those the plan does not name are spares. Ranges of one rank that
/// follow each other become one chunk. Throws UsageError, naming the place, for a plan that does
/// not fit the recipe or the ranks.
Mesh make_mesh(const Recipe& recipe, const Plan& plan, int num_ranks);
/// The same with the model's layout at hand, for who makes many.
Mesh make_mesh(const Recipe& recipe, const Plan& plan, int num_ranks,
               const std::vector<ParamGroup>& layout);

/// A plan for ranks that are alike: ranks / stages replicas of stages ranks each, numbered pipeline
/// by pipeline; layers split by FLOPs, so the vocabulary's head weighs what it costs; shares as
/// equal as whole grains allow. Micro-batches hold one grain (EXACT), or up to 1,024 tokens while
/// at least four a stage remain. Throws UsageError when ranks is not a multiple of stages, there
/// are more stages than layers, or fewer grains than replicas.
Plan even_plan(const Recipe& recipe, int ranks, int stages);

/// The plan a run without --plan uses: pipelines of two ranks, the first of three when ranks is odd
/// (1 rank: one stage); longer ones when there are fewer grains than such pipelines. Shares follow
/// the speed that FLOPs predict. Ranks beyond one a layer stay spares. Memory is not asked about.
Plan even_plan(const Recipe& recipe, int ranks);

}  // namespace kente
