#include "csrc/ckpt/tiling.h"

#include <algorithm>
#include <set>

namespace kente {
namespace {

/// One manifest of one step, and the domains that hold it.
struct Candidate {
  const StepInventory* example = nullptr;
  std::vector<std::pair<int, const StepInventory*>> copies;
};

std::vector<Candidate> candidates_of(const std::vector<std::vector<StepInventory>>& domains) {
  std::map<std::pair<int64_t, std::string>, Candidate> found;
  for (size_t domain = 0; domain < domains.size(); ++domain)
    for (const StepInventory& step : domains[domain]) {
      if (!step.problem.empty()) continue;
      Candidate& candidate = found[{step.step, step.manifest_sha256}];
      candidate.example = &step;
      candidate.copies.emplace_back(static_cast<int>(domain), &step);
    }
  std::vector<Candidate> candidates;
  candidates.reserve(found.size());
  for (auto& [key, candidate] : found) candidates.push_back(std::move(candidate));
  // The map is ordered by digest within a step; a stable sort keeps that for equal copies.
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) {
                     if (a.example->step != b.example->step)
                       return a.example->step > b.example->step;
                     return a.copies.size() > b.copies.size();
                   });
  return candidates;
}

/// Sorts what is stored under a wanted name; or says why it is not that tensor, every element once.
std::string check_tiling(const WantedTensor& want, std::vector<TensorSource>& sources) {
  std::sort(sources.begin(), sources.end(),
            [](const TensorSource& a, const TensorSource& b) { return a.first() < b.first(); });
  int64_t elements = 1;
  for (const int64_t extent : want.shape) elements *= extent;
  int64_t next = 0;
  for (const TensorSource& source : sources) {
    const StoredTensor& tensor = source.tensor;
    const std::vector<int64_t>& shape = tensor.piece_of ? tensor.piece_of->shape : tensor.shape;
    if (tensor.dtype != want.dtype || shape != want.shape)
      return "tensor " + want.name +
             " has another shape or dtype: the checkpoint is of another model";
    if (source.first() > next) break;
    if (source.first() < next)
      return "element " + std::to_string(source.first()) + " of tensor " + want.name +
             " is stored twice";
    next += source.count();
  }
  if (next < elements)
    return "element " + std::to_string(next) + " of tensor " + want.name + " is not in it";
  return "";
}

/// Fills point; or says why the candidate cannot be loaded.
std::string try_restore(const Candidate& candidate, const std::vector<WantedTensor>& wanted,
                        RestorePoint& point) {
  const CheckpointManifest& manifest = candidate.example->manifest;
  point.step = candidate.example->step;
  point.manifest = manifest;
  std::map<std::string, std::vector<TensorSource>> stored;
  for (size_t index = 0; index < manifest.shards.size(); ++index) {
    const Shard& shard = manifest.shards[index];
    std::vector<int> holders;
    for (const auto& [domain, copy] : candidate.copies)
      if (std::find(copy->present.begin(), copy->present.end(), shard.file) != copy->present.end())
        holders.push_back(domain);
    if (holders.empty()) return shard.file + " is on no node";
    for (const StoredTensor& tensor : shard.tensors)
      stored[tensor.piece_of ? tensor.piece_of->name : tensor.name].push_back(
          {holders.front(), index, tensor});
    point.holders.push_back(std::move(holders));
  }
  for (const WantedTensor& want : wanted) {
    const auto found = stored.find(want.name);
    if (found == stored.end()) return "tensor " + want.name + " is not in it";
    std::string fault = check_tiling(want, found->second);
    if (!fault.empty()) return fault;
    point.tensors.insert(*found);
  }
  const int64_t copies = static_cast<int64_t>(candidate.copies.size());
  point.durable = copies >= std::min<int64_t>(2, manifest.domains());
  return "";
}

}  // namespace

RestoreChoice newest_complete(const std::vector<std::vector<StepInventory>>& domains,
                              const std::vector<WantedTensor>& wanted) {
  RestoreChoice choice;
  for (const Candidate& candidate : candidates_of(domains)) {
    RestorePoint point;
    const std::string reason = try_restore(candidate, wanted, point);
    if (reason.empty()) {
      choice.point = std::move(point);
      break;
    }
    choice.passed_over.push_back("step " + std::to_string(point.step) + ": " + reason);
  }
  const int64_t chosen = choice.point ? choice.point->step : -1;
  for (size_t domain = 0; domain < domains.size(); ++domain)
    for (const StepInventory& step : domains[domain])
      if (!step.problem.empty() && step.step > chosen)
        choice.passed_over.push_back("step " + std::to_string(step.step) + " on node " +
                                     std::to_string(domain) + ": " + step.problem);
  return choice;
}

}  // namespace kente
