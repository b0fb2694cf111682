#include "csrc/train/grad_reducer.h"

#include <algorithm>

#include "csrc/base/errors.h"
#include "csrc/train/tensor_view.h"

namespace kente {
namespace {

size_t at_index(int i) { return static_cast<size_t>(i); }

}  // namespace

GradReducer::GradReducer(const Recipe& recipe, const Mesh& mesh, const Parameters& parameters,
                         const BucketComms& comms, int rank)
    : parameters_(parameters),
      ops_(parameters.ops()),
      fixed_(ops_.fixed_sums()),
      mesh_(mesh),
      reduction_(recipe.numerics.reduction),
      // A tied parameter gets two contributions from each grain.
      terms_(2 * recipe.grains_per_step()),
      comms_(comms),
      rank_(rank) {
  int64_t largest = 0;
  for (const int group : parameters.groups()) {
    const int64_t size = parameters.layout(group).size;
    largest = std::max(largest, size);
    sums_.resize(std::max(sums_.size(), at_index(group) + 1));
    sums_[at_index(group)] =
        ops_.zeros({size}, reduction_ == Reduction::kExact ? at::kLong : at::kFloat);
  }
  if (reduction_ == Reduction::kExact) scratch_ = ops_.zeros({largest}, at::kFloat);
}

void GradReducer::begin_step(double scale) {
  KENTE_CHECK(scale == 1 || reduction_ == Reduction::kFast, "scaled gradients under EXACT");
  for (const int group : parameters_.groups()) ops_.clear(sums_[at_index(group)]);
  fixed_->begin_step();
  scale_ = scale;
  own_finite_ = true;
}

void GradReducer::unscale(int group) {
  if (scale_ == 1) return;
  const at::Tensor& sum = sums_[at_index(group)];
  own_finite_ = own_finite_ && ops_.all_finite(sum);
  ops_.scale(sum, 1 / scale_);
}

at::Tensor GradReducer::open(int group) {
  if (reduction_ == Reduction::kFast) return sums_[at_index(group)];
  const at::Tensor scratch = scratch_.narrow(0, 0, parameters_.layout(group).size);
  ops_.clear(scratch);
  return scratch;
}

void GradReducer::close(int group) {
  if (reduction_ == Reduction::kFast) return;
  fixed_->accumulate(scratch_.narrow(0, 0, parameters_.layout(group).size), sums_[at_index(group)],
                     terms_);
}

void GradReducer::reduce(int bucket) {
  Communicator* comm = comms_.of(bucket);
  for (const int group : mesh_.buckets[at_index(bucket)].groups) {
    unscale(group);
    if (!comm) continue;  // no other rank holds it
    at::Tensor& sum = sums_[at_index(group)];
    const DType dtype = reduction_ == Reduction::kExact ? DType::kI64 : DType::kF32;
    works_.push_back(comm->all_reduce(
        {.data = sum.data_ptr(), .count = sum.numel(), .dtype = dtype}, ReduceOp::kSum));
  }
}

FixedNorm GradReducer::finish(const Deadline& deadline) {
  for (auto& work : works_) work->wait(deadline);
  works_.clear();
  for (const Bucket& bucket : mesh_.buckets) {
    if (bucket.holders.front() != rank_) continue;
    for (const int group : bucket.groups)
      if (parameters_.layout(group).size > 0) fixed_->add_squares(gradient(group));
  }
  return fixed_->take();
}

at::Tensor GradReducer::gradient(int group) {
  at::Tensor& sum = sums_[at_index(group)];
  if (reduction_ == Reduction::kFast) return sum;
  const at::Tensor scratch = scratch_.narrow(0, 0, parameters_.layout(group).size);
  ops_.fixed_to_float(sum, scratch);
  return scratch;
}

}  // namespace kente
