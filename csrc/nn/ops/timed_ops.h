#pragma once

#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "csrc/nn/ops/ops.h"

namespace kente {

/// What all calls of an operation came to.
struct OpTotals {
  int64_t calls = 0;
  double seconds = 0;
  double flops = 0;  // of products; elementwise work is counted by its bytes
  double bytes = 0;  // that must move: operands read once, results written once
};

/// Another's operations, timed: two readings of the clock a call. On the host alone, where a call
/// has ended when it returns.
class TimedOps : public Ops {
 public:
  /// inner must outlive it.
  explicit TimedOps(Ops& inner);

  /// By name, a literal; since the last call, which forgets them.
  std::map<std::string_view, OpTotals> take();

  bool on_host() const override { return true; }
  at::Tensor empty(at::IntArrayRef sizes, at::ScalarType type) override;
  at::Tensor zeros(at::IntArrayRef sizes, at::ScalarType type) override;
  at::Tensor from_host(const at::Tensor& tensor) override;
  at::Tensor to_host(const at::Tensor& tensor) override;
  void cast(const at::Tensor& from, const at::Tensor& to) override;
  void add(const at::Tensor& from, const at::Tensor& to) override;
  void clear(const at::Tensor& tensor) override;
  void scale(const at::Tensor& tensor, double factor) override;
  bool all_finite(const at::Tensor& tensor) override;
  std::unique_ptr<BatchOnDevice> upload(const MicroBatch& batch) override;
  at::Tensor embedding(const at::Tensor& tokens, const at::Tensor& positions,
                       const BatchOnDevice& batch) override;
  void embedding_backward(const at::Tensor& dy, const BatchOnDevice& batch, MicroBatch::Field field,
                          const at::Tensor& grad_table) override;
  NormOutput norm(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b,
                  double eps) override;
  void norm_backward(const at::Tensor& x, const at::Tensor& stats, const at::Tensor& w,
                     const at::Tensor& residual_grad, const at::Tensor& dy,
                     const at::Tensor& grad_w, const at::Tensor& grad_b) override;
  bool wants_real_bias() const override { return inner_.wants_real_bias(); }
  at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias,
                    const at::Tensor& residual) override;
  at::Tensor linear_backward_input(const at::Tensor& dy, const at::Tensor& w) override;
  void linear_backward_weight(const at::Tensor& dy, const at::Tensor& x,
                              const at::Tensor& grad_w) override;
  void add_column_sums(const at::Tensor& dy, const at::Tensor& grad_bias) override;
  RopeTable rope_table(int64_t positions, int64_t head_dim, double theta,
                       at::ScalarType real) override;
  void rope(const at::Tensor& x, int64_t heads, const BatchOnDevice& batch, const RopeTable& table,
            RopeDirection direction) override;
  at::Tensor gelu(const at::Tensor& x) override;
  void gelu_backward(const at::Tensor& x, const at::Tensor& dy) override;
  at::Tensor swiglu(const at::Tensor& gate_up) override;
  void swiglu_backward(const at::Tensor& gate_up, const at::Tensor& dy) override;
  AttentionOutput attention(const at::Tensor& qkv, const AttentionHeads& heads,
                            const BatchOnDevice& batch, bool stop_at_documents) override;
  void attention_backward(const at::Tensor& qkv, const AttentionHeads& heads,
                          const BatchOnDevice& batch, bool stop_at_documents,
                          const AttentionOutput& forward, const at::Tensor& grad_out) override;
  at::Tensor logits_buffer(int64_t rows, int64_t vocabulary, at::ScalarType compute) override;
  void logits(const at::Tensor& x, const at::Tensor& w, const at::Tensor& logits) override;
  std::unique_ptr<RowLosses> cross_entropy(const at::Tensor& logits, const BatchOnDevice& batch,
                                           std::optional<double> grad_scale) override;
  at::Tensor logits_gradient(const at::Tensor& logits, at::ScalarType compute) override;
  std::unique_ptr<FixedSums> fixed_sums() override;
  void fixed_to_float(const at::Tensor& accumulator, const at::Tensor& gradient) override;
  std::unique_ptr<WorkClock> work_clock() override;
  std::unique_ptr<HostCopies> host_copies(std::vector<at::Tensor> tensors) override;
  bool adamw(const std::vector<AdamWPiece>& pieces, const AdamWFactors& factors,
             at::ScalarType copy) override;

 private:
  Ops& inner_;
  std::map<std::string_view, OpTotals> totals_;
};

}  // namespace kente
