#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/base/dtype.h"
#include "csrc/config/model_layout.h"
#include "csrc/nn/ops/ops.h"

namespace kente {

/// The parameter groups one rank holds: fp32 master weights, and the compute copy that GEMMs read.
/// Allocated once. One thread.
class Parameters {
 public:
  /// Holds those groups of the layout that a layer in layers uses. compute is kF32, kBF16, kF16
  /// or (tests) kF64; master is f32, and f64 when compute is kF64. They lie on the device of ops,
  /// which must outlive them.
  Parameters(const ModelConfig& model, const std::vector<int>& layers, DType compute,
             Ops& ops = cpu_ops());

  /// Fills master and compute copy. A pure function of (model, seed): every plan gets the same
  /// weights. Source: gpt2: Radford et al. 2019, section 2.3; llama, qwen2: N(0,
  /// initializer_range).
  void init(uint64_t seed);

  Ops& ops() const { return ops_; }
  /// Held group indices, ascending.
  const std::vector<int>& groups() const { return held_; }
  bool holds(int group) const;
  const ParamGroup& layout(int group) const { return layout_.at(static_cast<size_t>(group)); }

  /// master [layout(group).size], contiguous; padding is zero.
  at::Tensor master(int group) const;
  /// compute copy [layout(group).size]; the master itself when dtypes are equal.
  at::Tensor compute(int group) const;
  /// A view of the compute copy with the parameter's shape. Throws InternalError for a name not
  /// held.
  at::Tensor view(const std::string& name) const;
  /// As view(), of the master: vectors (norms and biases) are read in full precision.
  at::Tensor master_view(const std::string& name) const;

  /// Rounds the master into the compute copy, after the optimizer has changed it.
  void refresh(int group);

 private:
  at::Tensor view_in(const std::vector<at::Tensor>& buffers, const std::string& name) const;

  Ops& ops_;
  double initializer_range_ = 0;
  double residual_range_ = 0;
  std::vector<ParamGroup> layout_;
  std::vector<int> held_;
  std::vector<at::Tensor> master_;   // by group index; undefined when not held
  std::vector<at::Tensor> compute_;  // by group index
};

/// Where weight gradients go, one per rank. Layers only ever add.
class GradSink {
 public:
  virtual ~GradSink() = default;
  /// Flat gradient [group.size] f32 (f64 in tests) to which a layer adds its contribution.
  virtual at::Tensor open(int group) = 0;
  /// The layer that opened it has added everything it has for this micro-batch.
  virtual void close(int group) = 0;
};

}  // namespace kente
