#include "csrc/nn/ops/timed_ops.h"

#include <utility>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"

namespace kente {
namespace {

double bytes(const at::Tensor& tensor) {
  return tensor.defined()
             ? static_cast<double>(tensor.numel()) * static_cast<double>(tensor.element_size())
             : 0;
}

/// Of x [rows, k] and w [n, k].
double product_flops(const at::Tensor& x, const at::Tensor& w) {
  return 2.0 * static_cast<double>(x.numel()) * static_cast<double>(w.size(0));
}

/// Counts one call from its making to its end, however that comes.
class Call {
 public:
  Call(OpTotals& totals, double bytes, double flops = 0) : totals_(totals), begin_(now_ns()) {
    ++totals.calls;
    totals.bytes += bytes;
    totals.flops += flops;
  }
  ~Call() { totals_.seconds += seconds_since(begin_); }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 private:
  OpTotals& totals_;
  const int64_t begin_;
};

class TimedSums : public FixedSums {
 public:
  TimedSums(std::unique_ptr<FixedSums> inner, std::map<std::string_view, OpTotals>& totals)
      : inner_(std::move(inner)), totals_(totals) {}
  void begin_step() override { inner_->begin_step(); }
  void accumulate(const at::Tensor& gradient, const at::Tensor& accumulator,
                  int64_t terms) override {
    const Call call(totals_["fixed-point sums"], bytes(gradient) + 2 * bytes(accumulator));
    inner_->accumulate(gradient, accumulator, terms);
  }
  void add_squares(const at::Tensor& gradient) override {
    const Call call(totals_["gradient norm"], bytes(gradient));
    inner_->add_squares(gradient);
  }
  FixedNorm take() override { return inner_->take(); }

 private:
  const std::unique_ptr<FixedSums> inner_;
  std::map<std::string_view, OpTotals>& totals_;
};

/// Causal attention of every row over half of its sample: two products forward, five backward.
double attention_flops(const BatchOnDevice& batch, const AttentionHeads& heads, double products) {
  return products * static_cast<double>(batch.rows()) * static_cast<double>(batch.host().length) *
         static_cast<double>(heads.heads * heads.head_dim);
}

}  // namespace

TimedOps::TimedOps(Ops& inner) : inner_(inner) {
  KENTE_CHECK(inner.on_host(), "a device works on when a call has returned");
}

std::map<std::string_view, OpTotals> TimedOps::take() { return std::exchange(totals_, {}); }

at::Tensor TimedOps::empty(at::IntArrayRef sizes, at::ScalarType type) {
  return inner_.empty(sizes, type);
}
at::Tensor TimedOps::zeros(at::IntArrayRef sizes, at::ScalarType type) {
  return inner_.zeros(sizes, type);
}
at::Tensor TimedOps::from_host(const at::Tensor& tensor) { return inner_.from_host(tensor); }
at::Tensor TimedOps::to_host(const at::Tensor& tensor) { return inner_.to_host(tensor); }

void TimedOps::cast(const at::Tensor& from, const at::Tensor& to) {
  const Call call(totals_["conversion"], bytes(from) + bytes(to));
  inner_.cast(from, to);
}

void TimedOps::add(const at::Tensor& from, const at::Tensor& to) {
  const Call call(totals_["addition"], bytes(from) + 2 * bytes(to));
  inner_.add(from, to);
}

void TimedOps::clear(const at::Tensor& tensor) {
  const Call call(totals_["zeroing"], bytes(tensor));
  inner_.clear(tensor);
}

void TimedOps::scale(const at::Tensor& tensor, double factor) {
  const Call call(totals_["scaling"], 2 * bytes(tensor));
  inner_.scale(tensor, factor);
}

bool TimedOps::all_finite(const at::Tensor& tensor) {
  const Call call(totals_["finite check"], bytes(tensor));
  return inner_.all_finite(tensor);
}

std::unique_ptr<BatchOnDevice> TimedOps::upload(const MicroBatch& batch) {
  return inner_.upload(batch);
}

at::Tensor TimedOps::embedding(const at::Tensor& tokens, const at::Tensor& positions,
                               const BatchOnDevice& batch) {
  const double row = static_cast<double>(tokens.size(1) * tokens.element_size());
  const Call call(totals_["embedding"],
                  (positions.defined() ? 3 : 2) * row * static_cast<double>(batch.rows()));
  return inner_.embedding(tokens, positions, batch);
}

void TimedOps::embedding_backward(const at::Tensor& dy, const BatchOnDevice& batch,
                                  MicroBatch::Field field, const at::Tensor& grad_table) {
  const double written = static_cast<double>(dy.numel() * grad_table.element_size());
  const Call call(totals_["embedding, gradient"], bytes(dy) + 2 * written);
  inner_.embedding_backward(dy, batch, field, grad_table);
}

NormOutput TimedOps::norm(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b,
                          double eps) {
  const Call call(totals_["norm"], 2 * bytes(x));
  return inner_.norm(x, w, b, eps);
}

void TimedOps::norm_backward(const at::Tensor& x, const at::Tensor& stats, const at::Tensor& w,
                             const at::Tensor& residual_grad, const at::Tensor& dy,
                             const at::Tensor& grad_w, const at::Tensor& grad_b) {
  const Call call(totals_["norm, gradient"], bytes(x) + 2 * bytes(dy) + bytes(residual_grad));
  inner_.norm_backward(x, stats, w, residual_grad, dy, grad_w, grad_b);
}

at::Tensor TimedOps::linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias,
                            const at::Tensor& residual) {
  const double out = static_cast<double>(x.size(0) * w.size(0) * x.element_size());
  const Call call(totals_["linear"], bytes(x) + bytes(w) + bytes(residual) + out,
                  product_flops(x, w));
  return inner_.linear(x, w, bias, residual);
}

at::Tensor TimedOps::linear_backward_input(const at::Tensor& dy, const at::Tensor& w) {
  const double out = static_cast<double>(dy.size(0) * w.size(1) * dy.element_size());
  const Call call(totals_["linear, input's gradient"], bytes(dy) + bytes(w) + out,
                  2.0 * static_cast<double>(dy.numel()) * static_cast<double>(w.size(1)));
  return inner_.linear_backward_input(dy, w);
}

void TimedOps::linear_backward_weight(const at::Tensor& dy, const at::Tensor& x,
                                      const at::Tensor& grad_w) {
  const Call call(totals_["linear, weight's gradient"], bytes(dy) + bytes(x) + 2 * bytes(grad_w),
                  2.0 * static_cast<double>(dy.numel()) * static_cast<double>(x.size(1)));
  inner_.linear_backward_weight(dy, x, grad_w);
}

void TimedOps::add_column_sums(const at::Tensor& dy, const at::Tensor& grad_bias) {
  const Call call(totals_["bias, gradient"], bytes(dy));
  inner_.add_column_sums(dy, grad_bias);
}

RopeTable TimedOps::rope_table(int64_t positions, int64_t head_dim, double theta,
                               at::ScalarType real) {
  return inner_.rope_table(positions, head_dim, theta, real);
}

void TimedOps::rope(const at::Tensor& x, int64_t heads, const BatchOnDevice& batch,
                    const RopeTable& table, RopeDirection direction) {
  const int64_t turned = x.size(0) * heads * table.cos_sin.size(1) * x.element_size();
  const Call call(totals_["RoPE"], 2 * static_cast<double>(turned));
  inner_.rope(x, heads, batch, table, direction);
}

at::Tensor TimedOps::gelu(const at::Tensor& x) {
  const Call call(totals_["activation"], 2 * bytes(x));
  return inner_.gelu(x);
}

void TimedOps::gelu_backward(const at::Tensor& x, const at::Tensor& dy) {
  const Call call(totals_["activation, gradient"], 2 * bytes(x) + bytes(dy));
  inner_.gelu_backward(x, dy);
}

at::Tensor TimedOps::swiglu(const at::Tensor& gate_up) {
  const Call call(totals_["activation"], 1.5 * bytes(gate_up));
  return inner_.swiglu(gate_up);
}

void TimedOps::swiglu_backward(const at::Tensor& gate_up, const at::Tensor& dy) {
  const Call call(totals_["activation, gradient"], 2 * bytes(gate_up) + bytes(dy));
  inner_.swiglu_backward(gate_up, dy);
}

AttentionOutput TimedOps::attention(const at::Tensor& qkv, const AttentionHeads& heads,
                                    const BatchOnDevice& batch, bool stop_at_documents) {
  const auto out =
      static_cast<double>(qkv.size(0) * heads.heads * heads.head_dim * qkv.element_size());
  const Call call(totals_["attention"], bytes(qkv) + out, attention_flops(batch, heads, 2));
  return inner_.attention(qkv, heads, batch, stop_at_documents);
}

void TimedOps::attention_backward(const at::Tensor& qkv, const AttentionHeads& heads,
                                  const BatchOnDevice& batch, bool stop_at_documents,
                                  const AttentionOutput& forward, const at::Tensor& grad_out) {
  const Call call(totals_["attention, gradient"],
                  2 * bytes(qkv) + bytes(forward.out) + bytes(grad_out),
                  attention_flops(batch, heads, 5));
  inner_.attention_backward(qkv, heads, batch, stop_at_documents, forward, grad_out);
}

at::Tensor TimedOps::logits_buffer(int64_t rows, int64_t vocabulary, at::ScalarType compute) {
  return inner_.logits_buffer(rows, vocabulary, compute);
}

void TimedOps::logits(const at::Tensor& x, const at::Tensor& w, const at::Tensor& logits) {
  const Call call(totals_["logits"], bytes(x) + bytes(w) + bytes(logits), product_flops(x, w));
  inner_.logits(x, w, logits);
}

std::unique_ptr<RowLosses> TimedOps::cross_entropy(const at::Tensor& logits,
                                                   const BatchOnDevice& batch,
                                                   std::optional<double> grad_scale) {
  const Call call(totals_["cross-entropy"], (grad_scale ? 2 : 1) * bytes(logits));
  return inner_.cross_entropy(logits, batch, grad_scale);
}

at::Tensor TimedOps::logits_gradient(const at::Tensor& logits, at::ScalarType compute) {
  if (logits.scalar_type() == compute) return inner_.logits_gradient(logits, compute);
  const Call call(totals_["conversion"], 1.5 * bytes(logits));
  return inner_.logits_gradient(logits, compute);
}

std::unique_ptr<FixedSums> TimedOps::fixed_sums() {
  return std::make_unique<TimedSums>(inner_.fixed_sums(), totals_);
}

void TimedOps::fixed_to_float(const at::Tensor& accumulator, const at::Tensor& gradient) {
  const Call call(totals_["fixed-point sums"], bytes(accumulator) + bytes(gradient));
  inner_.fixed_to_float(accumulator, gradient);
}

std::unique_ptr<WorkClock> TimedOps::work_clock() { return inner_.work_clock(); }

std::unique_ptr<HostCopies> TimedOps::host_copies(std::vector<at::Tensor> tensors) {
  return inner_.host_copies(std::move(tensors));
}

bool TimedOps::adamw(const std::vector<AdamWPiece>& pieces, const AdamWFactors& factors,
                     at::ScalarType copy) {
  // The gradient read, weight and both moments read and written.
  constexpr double kBytes = 4 + 3 * 8;
  double moved = 0;
  for (const AdamWPiece& piece : pieces) moved += kBytes * static_cast<double>(piece.count);
  const Call call(totals_["AdamW"], moved);
  return inner_.adamw(pieces, factors, copy);
}

}  // namespace kente
