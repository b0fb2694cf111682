#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace kente {

struct CrossEntropyTargets {
  const int32_t* targets;  // [rows]
  const int32_t* mask;     // [rows], 0: the row contributes nothing
};

/// Per row: nats[r] = log(sum_v e^l[r, v]) - l[r, target[r]], in double; 0 where masked.
/// With grad_scale the logits become their gradient, grad_scale (softmax(l) - onehot(target)), 0
/// where masked; without it they are destroyed. logits [rows, V] f32 (f64), contiguous. e^x in f32
/// (f64), sums in double.
std::vector<double> cross_entropy(const at::Tensor& logits, const CrossEntropyTargets& targets,
                                  std::optional<double> grad_scale);

/// Rounds [rows, V] f32, contiguous, to bf16 or f16 in the first half of its own memory; returns
/// that as [rows, V].
at::Tensor round_in_place(const at::Tensor& values, at::ScalarType type);

}  // namespace kente
