#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/ckpt/checkpoint.h"
#include "csrc/ckpt/tiling.h"
#include "csrc/nn/parameters.h"
#include "csrc/plan/mesh.h"
#include "csrc/train/host_state.h"
#include "csrc/train/transfer.h"

namespace kente {

/// One tensor of a checkpoint: what it is, and the elements of its group's flat buffer it covers.
struct StateTensor {
  StateKind kind = StateKind::kMaster;
  const Bucket* bucket = nullptr;
  int group = 0;
  const ParamSpec* spec = nullptr;

  std::string name() const;
  ElementRange elements() const {
    return {.begin = spec->offset, .end = spec->offset + spec->count};
  }
};

/// The whole model's, in the one order in which all ranks go through them. mesh and parameters must
/// outlive them.
std::vector<StateTensor> all_tensors(const Mesh& mesh, const Parameters& parameters,
                                     bool with_optimizer);

/// This rank's place for an element of a tensor; it must hold that element.
float* place_of(const StateTensor& tensor, int64_t element, const HostState& state);

/// Elements of a tensor as a checkpoint stores them: a piece unless they are all of it.
NamedTensor stored_tensor(const StateTensor& tensor, const ElementRange& elements, float* data);

/// Who needs which part of what a source holds: weights all holders, moments those whose shard it
/// meets. own and domains are left to the caller.
TensorMove move_of(const StateTensor& tensor, const TensorSource& source, int64_t group_size);

/// The names and shapes for the whole model: what a checkpoint must hold.
std::vector<WantedTensor> wanted_tensors(const Mesh& mesh, const Parameters& parameters,
                                         bool with_optimizer);

}  // namespace kente
