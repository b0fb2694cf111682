#include "csrc/train/state_tensors.h"

#include <array>

#include "csrc/plan/shards.h"

namespace kente {

std::string StateTensor::name() const {
  constexpr std::array kPrefix = {"", "exp_avg.", "exp_avg_sq."};
  return kPrefix[static_cast<size_t>(kind)] + spec->name;
}

std::vector<StateTensor> all_tensors(const Mesh& mesh, const Parameters& parameters,
                                     bool with_optimizer) {
  std::vector<StateTensor> tensors;
  for (const Bucket& bucket : mesh.buckets)
    for (const int group : bucket.groups)
      for (const ParamSpec& spec : parameters.layout(group).params)
        for (const StateKind kind : {StateKind::kMaster, StateKind::kExpAvg, StateKind::kExpAvgSq})
          if (kind == StateKind::kMaster || with_optimizer)
            tensors.push_back({.kind = kind, .bucket = &bucket, .group = group, .spec = &spec});
  return tensors;
}

float* place_of(const StateTensor& tensor, int64_t element, const HostState& state) {
  // Of moments there is only this rank's shard.
  const int64_t first =
      tensor.kind == StateKind::kMaster ? 0 : state.optimizer()->shard(tensor.group).begin;
  return state.data(tensor.kind, tensor.group) + (element - first);
}

NamedTensor stored_tensor(const StateTensor& tensor, const ElementRange& elements, float* data) {
  NamedTensor stored;
  stored.name = tensor.name();
  stored.shape = tensor.spec->shape;
  stored.data = {.data = data, .count = elements.size(), .dtype = DType::kF32};
  if (elements == tensor.elements()) return stored;
  const int64_t first = elements.begin - tensor.elements().begin;
  stored.piece_of = PieceOf{.name = stored.name, .shape = stored.shape, .first = first};
  stored.name += "@" + std::to_string(first);
  stored.shape = {elements.size()};
  return stored;
}

TensorMove move_of(const StateTensor& tensor, const TensorSource& source, int64_t group_size) {
  const int64_t begin = tensor.elements().begin + source.first();
  const ElementRange stored{.begin = begin, .end = begin + source.count()};
  const std::vector<ElementRange> shards = optimizer_shards(*tensor.bucket, group_size);
  TensorMove move;
  move.bytes = source.tensor.bytes;
  for (size_t holder = 0; holder < shards.size(); ++holder) {
    const ElementRange needed =
        tensor.kind == StateKind::kMaster ? stored : intersect(stored, shards[holder]);
    if (needed.size() > 0)
      move.receivers.push_back({.rank = tensor.bucket->holders[holder],
                                .first = (needed.begin - begin) * size_of(DType::kF32),
                                .bytes = needed.size() * size_of(DType::kF32)});
  }
  return move;
}

std::vector<WantedTensor> wanted_tensors(const Mesh& mesh, const Parameters& parameters,
                                         bool with_optimizer) {
  std::vector<WantedTensor> wanted;
  for (const StateTensor& tensor : all_tensors(mesh, parameters, with_optimizer))
    wanted.push_back({.name = tensor.name(), .dtype = DType::kF32, .shape = tensor.spec->shape});
  return wanted;
}

}  // namespace kente
