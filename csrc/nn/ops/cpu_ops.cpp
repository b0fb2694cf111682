#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <bit>
#include <utility>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/nn/ops/activation.h"
#include "csrc/nn/ops/cross_entropy.h"
#include "csrc/nn/ops/element_type.h"
#include "csrc/nn/ops/embedding.h"
#include "csrc/nn/ops/linear.h"
#include "csrc/nn/ops/ops.h"

namespace kente {
namespace {

class HostLosses : public RowLosses {
 public:
  explicit HostLosses(std::vector<double> nats) : nats_(std::move(nats)) {}
  std::vector<double> take() override { return std::move(nats_); }

 private:
  std::vector<double> nats_;
};

class HostSums : public FixedSums {
 public:
  void begin_step() override { norm_ = {}; }
  void accumulate(const at::Tensor& gradient, const at::Tensor& accumulator,
                  int64_t terms) override {
    norm_.poison += accumulate_fixed(gradient.const_data_ptr<float>(), unsigned_of(accumulator),
                                     gradient.numel(), terms);
  }
  void add_squares(const at::Tensor& gradient) override {
    kente::add_squares(gradient.const_data_ptr<float>(), gradient.numel(), norm_);
  }
  FixedNorm take() override { return norm_; }

  static uint64_t* unsigned_of(const at::Tensor& accumulator) {
    return reinterpret_cast<uint64_t*>(accumulator.mutable_data_ptr<int64_t>());
  }

 private:
  FixedNorm norm_;
};

class OwnMemory : public HostCopies {
 public:
  explicit OwnMemory(std::vector<at::Tensor> tensors) : tensors_(std::move(tensors)) {}
  void* data(size_t tensor) override { return tensors_.at(tensor).mutable_data_ptr(); }
  void fetch() override {}
  bool arrived() override { return true; }
  void wait() override {}
  void send(size_t) override {}
  bool same_memory() const override { return true; }

 private:
  const std::vector<at::Tensor> tensors_;
};

class CpuOps : public Ops {
 public:
  bool on_host() const override { return true; }
  at::Tensor empty(at::IntArrayRef sizes, at::ScalarType type) override {
    return at::empty(sizes, at::TensorOptions().dtype(type));
  }
  at::Tensor zeros(at::IntArrayRef sizes, at::ScalarType type) override {
    return at::zeros(sizes, at::TensorOptions().dtype(type));
  }
  at::Tensor from_host(const at::Tensor& tensor) override { return tensor.clone(); }
  at::Tensor to_host(const at::Tensor& tensor) override { return tensor.clone(); }
  void cast(const at::Tensor& from, const at::Tensor& to) override { to.copy_(from); }
  void add(const at::Tensor& from, const at::Tensor& to) override { to.add_(from); }
  void clear(const at::Tensor& tensor) override { tensor.zero_(); }
  void scale(const at::Tensor& tensor, double factor) override { tensor.mul_(factor); }
  bool all_finite(const at::Tensor& tensor) override {
    KENTE_CHECK(tensor.is_contiguous(), "tensor not contiguous");
    constexpr uint32_t kSpecial = 0x7F800000u;  // the exponent of both
    const float* const values = tensor.const_data_ptr<float>();
    uint32_t found = 0;
    for (int64_t i = 0; i < tensor.numel(); ++i)
      found |= (std::bit_cast<uint32_t>(values[i]) & kSpecial) == kSpecial ? 1u : 0u;
    return found == 0;
  }

  std::unique_ptr<BatchOnDevice> upload(const MicroBatch& batch) override {
    return std::make_unique<BatchOnDevice>(batch);
  }

  at::Tensor embedding(const at::Tensor& tokens, const at::Tensor& positions,
                       const BatchOnDevice& batch) override {
    at::Tensor x = kente::embedding(tokens, batch.host().plane(MicroBatch::kTokens), batch.rows());
    if (positions.defined())
      add_embedding(positions, batch.host().plane(MicroBatch::kPositions), x);
    return x;
  }
  void embedding_backward(const at::Tensor& dy, const BatchOnDevice& batch, MicroBatch::Field field,
                          const at::Tensor& grad_table) override {
    kente::embedding_backward(dy, batch.host().plane(field), grad_table);
  }

  NormOutput norm(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b,
                  double eps) override {
    return b.defined() ? layer_norm(x, w, b, eps) : rms_norm(x, w, eps);
  }
  void norm_backward(const at::Tensor& x, const at::Tensor& stats, const at::Tensor& w,
                     const at::Tensor& residual_grad, const at::Tensor& dy,
                     const at::Tensor& grad_w, const at::Tensor& grad_b) override {
    if (grad_b.defined()) {
      layer_norm_backward(x, stats, w, residual_grad, dy, grad_w, grad_b);
    } else {
      rms_norm_backward(x, stats, w, residual_grad, dy, grad_w);
    }
  }

  bool wants_real_bias() const override { return true; }
  at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias,
                    const at::Tensor& residual) override {
    return kente::linear(x, w, bias, residual);
  }
  at::Tensor linear_backward_input(const at::Tensor& dy, const at::Tensor& w) override {
    return kente::linear_backward_input(dy, w);
  }
  void linear_backward_weight(const at::Tensor& dy, const at::Tensor& x,
                              const at::Tensor& grad_w) override {
    kente::linear_backward_weight(dy, x, grad_w);
  }
  void add_column_sums(const at::Tensor& dy, const at::Tensor& grad_bias) override {
    kente::add_column_sums(dy, grad_bias);
  }

  RopeTable rope_table(int64_t positions, int64_t head_dim, double theta,
                       at::ScalarType real) override {
    return make_rope_table(positions, head_dim, theta, real);
  }
  void rope(const at::Tensor& x, int64_t heads, const BatchOnDevice& batch, const RopeTable& table,
            RopeDirection direction) override {
    kente::rope(x, heads, batch.host().plane(MicroBatch::kPositions), table, direction);
  }

  at::Tensor gelu(const at::Tensor& x) override { return kente::gelu(x); }
  void gelu_backward(const at::Tensor& x, const at::Tensor& dy) override {
    kente::gelu_backward(x, dy);
  }
  at::Tensor swiglu(const at::Tensor& gate_up) override { return kente::swiglu(gate_up); }
  void swiglu_backward(const at::Tensor& gate_up, const at::Tensor& dy) override {
    kente::swiglu_backward(gate_up, dy);
  }

  AttentionOutput attention(const at::Tensor& qkv, const AttentionHeads& heads,
                            const BatchOnDevice& batch, bool stop_at_documents) override {
    return kente::attention(qkv, heads, attention_segments(batch.host(), stop_at_documents));
  }
  void attention_backward(const at::Tensor& qkv, const AttentionHeads& heads,
                          const BatchOnDevice& batch, bool stop_at_documents,
                          const AttentionOutput& forward, const at::Tensor& grad_out) override {
    kente::attention_backward(qkv, heads, attention_segments(batch.host(), stop_at_documents),
                              forward, grad_out);
  }

  at::Tensor logits_buffer(int64_t rows, int64_t vocabulary, at::ScalarType compute) override {
    return empty({rows, vocabulary}, real_type(compute));
  }
  void logits(const at::Tensor& x, const at::Tensor& w, const at::Tensor& logits) override {
    linear_real(x, w, logits);
  }
  std::unique_ptr<RowLosses> cross_entropy(const at::Tensor& logits, const BatchOnDevice& batch,
                                           std::optional<double> grad_scale) override {
    const MicroBatch& host = batch.host();
    return std::make_unique<HostLosses>(kente::cross_entropy(
        logits, {host.plane(MicroBatch::kTargets), host.plane(MicroBatch::kLossMask)}, grad_scale));
  }
  at::Tensor logits_gradient(const at::Tensor& logits, at::ScalarType compute) override {
    return is_half(compute) ? round_in_place(logits, compute) : logits;
  }

  std::unique_ptr<FixedSums> fixed_sums() override { return std::make_unique<HostSums>(); }
  void fixed_to_float(const at::Tensor& accumulator, const at::Tensor& gradient) override {
    kente::fixed_to_float(HostSums::unsigned_of(accumulator), gradient.mutable_data_ptr<float>(),
                          gradient.numel());
  }
  std::unique_ptr<WorkClock> work_clock() override { return std::make_unique<HostClock>(now_ns); }
  std::unique_ptr<HostCopies> host_copies(std::vector<at::Tensor> tensors) override {
    return std::make_unique<OwnMemory>(std::move(tensors));
  }
  bool adamw(const std::vector<AdamWPiece>& pieces, const AdamWFactors& factors,
             at::ScalarType) override {
    for (const AdamWPiece& piece : pieces) kente::adamw(piece, factors);
    return false;
  }
};

}  // namespace

Ops& cpu_ops() {
  static CpuOps ops;
  return ops;
}

}  // namespace kente
