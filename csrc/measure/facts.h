#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "comm/communicator.h"
#include "csrc/config/recipe.h"
#include "csrc/measure/host.h"

namespace kente {

/// What is known of one rank before anything is measured.
struct RankFacts {
  HostFacts host;
  std::string kind;  // of device: equal for ranks that should be equally fast
  std::string build, libtorch, mpi;
  std::string recipe_sha256;
  std::string imitation;            // its part of the imitation's text; empty without one
  std::string limits;               // what launch knows of limits put on this process
  std::string gpu;                  // its id; empty: the rank has none
  int64_t gpu_bytes = 0;            // of its memory, free now
  double clock_offset_seconds = 0;  // of its wall clock to rank 0's

  bool operator==(const RankFacts&) const = default;
};

/// Everybody's facts, by rank, clock offsets measured. A collective.
std::vector<RankFacts> gather_facts(RankFacts own, Communicator& world, const Deadline& deadline);

std::string to_json(const RankFacts& facts);
/// Throws FormatError.
RankFacts parse_facts(std::string_view text);

/// Ranks on the node of a rank.
int64_t ranks_on_node(const std::vector<RankFacts>& ranks, size_t rank);

/// Ranks on the GPU of a rank that has one.
int64_t ranks_on_gpu(const std::vector<RankFacts>& ranks, size_t rank);

/// "f32", or "f32bf16" where a plan may choose: what layers are measured in.
std::string types_of(const NumericsConfig& numerics);

/// Equal digests: what was measured on a rank for a recipe's layers still holds. Over host,
/// processor, cores, memory, limits, build, layers, dtype, neighbours on the node and imitation.
std::string machine_digest(const std::vector<RankFacts>& ranks, size_t rank, const Recipe& recipe);

}  // namespace kente
