#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "csrc/base/dtype.h"
#include "csrc/base/micro_batch.h"
#include "csrc/nn/ops/adamw.h"
#include "csrc/nn/ops/attention.h"
#include "csrc/nn/ops/fixed_point.h"
#include "csrc/nn/ops/norm.h"
#include "csrc/nn/ops/rope.h"
#include "csrc/nn/ops/work_clock.h"

namespace kente {

/// A micro-batch's numbers where the operations read them. The micro-batch must outlive it.
class BatchOnDevice {
 public:
  explicit BatchOnDevice(const MicroBatch& host) : host_(host) {}
  virtual ~BatchOnDevice() = default;
  BatchOnDevice(const BatchOnDevice&) = delete;
  BatchOnDevice& operator=(const BatchOnDevice&) = delete;

  const MicroBatch& host() const { return host_; }
  int64_t rows() const { return host_.samples * host_.length; }

 private:
  const MicroBatch& host_;
};

/// The losses of a micro-batch's rows, which a device may still be at work on.
class RowLosses {
 public:
  virtual ~RowLosses() = default;
  /// Nats of each row, 0 where masked; once. Waits, at most as long as the device may take.
  virtual std::vector<double> take() = 0;
};

/// Sums of a step's gradients in fixed point, which a device may still be at work on; see
/// csrc/nn/ops/fixed_point.h. One step at a time.
class FixedSums {
 public:
  virtual ~FixedSums() = default;
  virtual void begin_step() = 0;
  /// accumulator [n] i64 += gradient [n] f32 in fixed point.
  virtual void accumulate(const at::Tensor& gradient, const at::Tensor& accumulator,
                          int64_t terms) = 0;
  virtual void add_squares(const at::Tensor& gradient) = 0;
  /// The squares since begin_step(), with the poison of both. Waits.
  virtual FixedNorm take() = 0;
};

/// Tensors of a device where the host reads and writes them, for whoever stores or compares them.
class HostCopies {
 public:
  virtual ~HostCopies() = default;
  /// Of one of the tensors, by number; on the CPU the tensor's own memory.
  virtual void* data(size_t tensor) = 0;
  /// Begins to copy all tensors to the host, as they are after the work that is queued now. Until
  /// that has been done adamw() waits; nothing but adamw() may change them first.
  virtual void fetch() = 0;
  /// What was fetched last is there.
  virtual bool arrived() = 0;
  /// Until it is.
  virtual void wait() = 0;
  /// The tensor, by number, becomes what the host has. Waits.
  virtual void send(size_t tensor) = 0;
  /// The host's memory is the tensors': nothing is ever on its way.
  virtual bool same_memory() const = 0;
};

/// The operations that layers and the optimizer are made of, on one kind of device. What each
/// computes, shapes and dtypes are documented in the headers of this folder, where the CPU's are;
/// all tensors are this device's. Work is done in the order of the calls; on a GPU it may not have
/// begun when a call returns. One thread.
class Ops {
 public:
  virtual ~Ops() = default;

  /// All is the host's: its memory, and the calling thread that does the work.
  virtual bool on_host() const = 0;
  virtual at::Tensor empty(at::IntArrayRef sizes, at::ScalarType type) = 0;
  virtual at::Tensor zeros(at::IntArrayRef sizes, at::ScalarType type) = 0;
  /// A copy of a tensor of the host's, contiguous.
  virtual at::Tensor from_host(const at::Tensor& tensor) = 0;
  /// A copy on the host of a contiguous tensor. Waits.
  virtual at::Tensor to_host(const at::Tensor& tensor) = 0;
  /// to = from, rounded. Of the same number of elements, contiguous.
  virtual void cast(const at::Tensor& from, const at::Tensor& to) = 0;
  /// to += from, both f32 (f64).
  virtual void add(const at::Tensor& from, const at::Tensor& to) = 0;
  virtual void clear(const at::Tensor& tensor) = 0;
  /// f32, in place.
  virtual void scale(const at::Tensor& tensor, double factor) = 0;
  /// Whether there is no infinity and no NaN in a contiguous f32 tensor; a GPU may call squares
  /// that sum to 2^40 in a block of 1,024 infinite, too. Waits.
  virtual bool all_finite(const at::Tensor& tensor) = 0;

  virtual std::unique_ptr<BatchOnDevice> upload(const MicroBatch& batch) = 0;

  /// Rows of tokens, by the batch's tokens, plus rows of positions where that is defined.
  virtual at::Tensor embedding(const at::Tensor& tokens, const at::Tensor& positions,
                               const BatchOnDevice& batch) = 0;
  /// field: kTokens or kPositions, whichever grad_table is of.
  virtual void embedding_backward(const at::Tensor& dy, const BatchOnDevice& batch,
                                  MicroBatch::Field field, const at::Tensor& grad_table) = 0;

  /// Layer norm; RMS norm where b is undefined.
  virtual NormOutput norm(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b,
                          double eps) = 0;
  /// grad_b undefined: RMS norm.
  virtual void norm_backward(const at::Tensor& x, const at::Tensor& stats, const at::Tensor& w,
                             const at::Tensor& residual_grad, const at::Tensor& dy,
                             const at::Tensor& grad_w, const at::Tensor& grad_b) = 0;

  /// Whether linear() wants its bias in f32 (f64) rather than in the compute dtype.
  virtual bool wants_real_bias() const = 0;
  virtual at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias,
                            const at::Tensor& residual) = 0;
  virtual at::Tensor linear_backward_input(const at::Tensor& dy, const at::Tensor& w) = 0;
  virtual void linear_backward_weight(const at::Tensor& dy, const at::Tensor& x,
                                      const at::Tensor& grad_w) = 0;
  virtual void add_column_sums(const at::Tensor& dy, const at::Tensor& grad_bias) = 0;

  virtual RopeTable rope_table(int64_t positions, int64_t head_dim, double theta,
                               at::ScalarType real) = 0;
  virtual void rope(const at::Tensor& x, int64_t heads, const BatchOnDevice& batch,
                    const RopeTable& table, RopeDirection direction) = 0;

  virtual at::Tensor gelu(const at::Tensor& x) = 0;
  virtual void gelu_backward(const at::Tensor& x, const at::Tensor& dy) = 0;
  virtual at::Tensor swiglu(const at::Tensor& gate_up) = 0;
  virtual void swiglu_backward(const at::Tensor& gate_up, const at::Tensor& dy) = 0;

  /// Attention ends at the borders of samples, and of documents if so.
  virtual AttentionOutput attention(const at::Tensor& qkv, const AttentionHeads& heads,
                                    const BatchOnDevice& batch, bool stop_at_documents) = 0;
  virtual void attention_backward(const at::Tensor& qkv, const AttentionHeads& heads,
                                  const BatchOnDevice& batch, bool stop_at_documents,
                                  const AttentionOutput& forward, const at::Tensor& grad_out) = 0;

  /// A buffer for logits [rows, vocabulary], which may have gaps between its rows.
  virtual at::Tensor logits_buffer(int64_t rows, int64_t vocabulary, at::ScalarType compute) = 0;
  /// logits = x w^T.
  virtual void logits(const at::Tensor& x, const at::Tensor& w, const at::Tensor& logits) = 0;
  /// The logits become their gradient, grad_scale (softmax - onehot), or, without grad_scale,
  /// anything.
  virtual std::unique_ptr<RowLosses> cross_entropy(const at::Tensor& logits,
                                                   const BatchOnDevice& batch,
                                                   std::optional<double> grad_scale) = 0;
  /// What cross_entropy left, in the compute dtype and in the buffer's memory.
  virtual at::Tensor logits_gradient(const at::Tensor& logits, at::ScalarType compute) = 0;

  virtual std::unique_ptr<FixedSums> fixed_sums() = 0;
  /// gradient [n] f32 = accumulator [n] i64, rounded once.
  virtual void fixed_to_float(const at::Tensor& accumulator, const at::Tensor& gradient) = 0;
  virtual std::unique_ptr<WorkClock> work_clock() = 0;
  /// Copies of contiguous tensors.
  virtual std::unique_ptr<HostCopies> host_copies(std::vector<at::Tensor> tensors) = 0;
  /// Updates all pieces; true where their copies, of that dtype, were written too. Changes nothing
  /// before what HostCopies fetch is on its way out.
  virtual bool adamw(const std::vector<AdamWPiece>& pieces, const AdamWFactors& factors,
                     at::ScalarType copy) = 0;
};

/// The host's: every call has ended when it returns.
Ops& cpu_ops();

}  // namespace kente
