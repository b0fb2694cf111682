#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <vector>

#include "csrc/nn/chunk.h"

namespace kente {

/// 2 blocks, D 24, H 4 (K 2 for llama and qwen2), F 20, V 37, at most 9 positions: no size is a
/// multiple of a vector.
ModelConfig tiny_model(ModelFamily family, bool tied);

/// Random tokens and targets; about a sixth of the targets masked; every sample holds documents of
/// 3, 1 and the rest. positions count inside documents if stop_at_documents.
MicroBatch tiny_batch(const ModelConfig& model, int64_t samples, int64_t length,
                      bool stop_at_documents);

/// Every parameter random, norms around 1, biases around 0, as a function of its name's place only.
void randomize(Parameters& parameters);

std::vector<int> all_layers(const ModelConfig& model);

/// Gradients by group, zero at first, and how often each was opened and closed.
class MapSink : public GradSink {
 public:
  explicit MapSink(const Parameters& parameters);
  at::Tensor open(int group) override;
  void close(int group) override;

  std::map<int, at::Tensor> gradients;
  std::map<int, int> opened, closed;
  std::vector<int> order;  // of close()
};

/// Elements of a contiguous tensor as doubles.
std::vector<double> values_of(const at::Tensor& tensor);
bool same_bits(const at::Tensor& a, const at::Tensor& b);
/// max |a - b| / max |b|
double relative_difference(const at::Tensor& a, const at::Tensor& b);
/// Normal random numbers [sizes] f64.
at::Tensor random_tensor(const std::vector<int64_t>& sizes, uint64_t stream);

}  // namespace kente
