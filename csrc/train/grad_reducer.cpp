#include "csrc/train/grad_reducer.h"

#include <ATen/ops/zeros.h>

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
        at::zeros({size}, reduction_ == Reduction::kExact ? at::kLong : at::kFloat);
  }
  if (reduction_ == Reduction::kExact) scratch_ = at::zeros({largest}, at::kFloat);
}

void GradReducer::begin_step(double scale) {
  KENTE_CHECK(scale == 1 || reduction_ == Reduction::kFast, "scaled gradients under EXACT");
  for (const int group : parameters_.groups()) sums_[at_index(group)].zero_();
  poison_ = 0;
  scale_ = scale;
  own_finite_ = true;
}

void GradReducer::unscale(int group) {
  if (scale_ == 1) return;
  at::Tensor& sum = sums_[at_index(group)];
  own_finite_ = own_finite_ && all_finite(sum);
  sum.mul_(1 / scale_);
}

at::Tensor GradReducer::open(int group) {
  if (reduction_ == Reduction::kFast) return sums_[at_index(group)];
  return scratch_.narrow(0, 0, parameters_.layout(group).size).zero_();
}

void GradReducer::close(int group) {
  if (reduction_ == Reduction::kFast) return;
  auto* sum = reinterpret_cast<uint64_t*>(sums_[at_index(group)].data_ptr<int64_t>());
  poison_ +=
      accumulate_fixed(scratch_.data_ptr<float>(), sum, parameters_.layout(group).size, terms_);
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
  FixedNorm norm;
  for (const Bucket& bucket : mesh_.buckets) {
    if (bucket.holders.front() != rank_) continue;
    for (const int group : bucket.groups)
      add_squares(gradient(group).data_ptr<float>(), parameters_.layout(group).size, norm);
  }
  norm.poison += poison_;
  return norm;
}

at::Tensor GradReducer::gradient(int group) {
  at::Tensor& sum = sums_[at_index(group)];
  if (reduction_ == Reduction::kFast) return sum;
  const int64_t size = parameters_.layout(group).size;
  fixed_to_float(reinterpret_cast<const uint64_t*>(sum.data_ptr<int64_t>()),
                 scratch_.data_ptr<float>(), size);
  return scratch_.narrow(0, 0, size);
}

}  // namespace kente
