#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "comm/communicator.h"
#include "csrc/nn/ops/fixed_point.h"
#include "csrc/nn/parameters.h"
#include "csrc/plan/mesh.h"
#include "csrc/train/bucket_comms.h"

namespace kente {

/// Collects the weight gradients of a step on one rank and sums them over the ranks that hold each
/// group.
///
/// EXACT: a layer's contribution for one grain lands in a scratch buffer, is quantised once when
/// the layer closes it and added to 64-bit integers. FAST: contributions are added to an f32 buffer
/// in the schedule's order. Buffers are allocated once. One thread.
class GradReducer : public GradSink {
 public:
  /// comms must outlive it.
  GradReducer(const Recipe& recipe, const Mesh& mesh, const Parameters& parameters,
              const BucketComms& comms, int rank);

  /// Forgets the last step's sums. scale: what layers will add is so many times too large, a power
  /// of two; it is taken out before ranks add up what they have.
  void begin_step(double scale = 1);
  at::Tensor open(int group) override;
  void close(int group) override;

  /// Starts the sum of a bucket over its holders; all of them call it in the plan's global order.
  void reduce(int bucket);
  /// Waits for every sum started in this step, then adds up what this rank answers for: each group
  /// is counted by the lowest rank that holds it. Returns the squares, and poison of gradients and
  /// squares together.
  FixedNorm finish(const Deadline& deadline);

  /// Whether what this rank itself added was finite, as far as it was reduced. Looked at only where
  /// scale is not 1.
  bool own_finite() const { return own_finite_; }

  /// The step's summed gradient of a group [size] f32, after finish(); valid until the next call.
  at::Tensor gradient(int group);

 private:
  void unscale(int group);

  const Parameters& parameters_;
  Ops& ops_;
  const std::unique_ptr<FixedSums> fixed_;
  const Mesh& mesh_;
  Reduction reduction_;
  int64_t terms_;  // contributions that meet in one element of the step's sum, at most
  const BucketComms& comms_;
  int rank_;
  std::vector<at::Tensor> sums_;  // by group: i64 (EXACT) or f32 (FAST) [size]
  at::Tensor scratch_;            // f32 [largest group]; EXACT only
  std::vector<std::unique_ptr<Work>> works_;
  double scale_ = 1;
  bool own_finite_ = true;
};

}  // namespace kente
