#include <ATen/ops/empty.h>

#include <utility>

#include "csrc/nn/layers.h"
#include "csrc/nn/ops/cross_entropy.h"
#include "csrc/nn/ops/element_type.h"
#include "csrc/nn/ops/linear.h"

namespace kente {
namespace {

const char* weight_name(const ModelConfig& model) {
  return model.tie_word_embeddings ? "embed.tokens.weight" : "head.weight";
}

CrossEntropyTargets targets_of(const MicroBatch& batch) {
  return {batch.plane(MicroBatch::kTargets), batch.plane(MicroBatch::kLossMask)};
}

/// Row losses, summed by grain in row order.
LossSums sum_by_grain(const MicroBatch& batch, const std::vector<double>& nats,
                      int64_t grain_samples) {
  const int64_t grain_rows = grain_samples * batch.length;
  const int32_t* mask = batch.plane(MicroBatch::kLossMask);
  const auto grains = static_cast<size_t>((batch.samples + grain_samples - 1) / grain_samples);
  LossSums sums{std::vector<double>(grains), std::vector<int64_t>(grains)};
  for (size_t row = 0; row < nats.size(); ++row) {
    const size_t grain = row / static_cast<size_t>(grain_rows);
    sums.nats[grain] += nats[row];
    sums.tokens[grain] += mask[row] != 0 ? 1 : 0;
  }
  return sums;
}

}  // namespace

HeadLayer::HeadLayer(const LayerContext& context)
    : context_(context),
      norm_(context, "head.norm"),
      weight_(context.parameters->view(weight_name(context.model))) {}

std::vector<at::Tensor> HeadLayer::Saved::tensors() const {
  // grad_logits lives in the memory of logits.
  return {norm.x, norm.y, norm.stats, norm.grad_weight, norm.grad_bias, logits};
}

at::Tensor HeadLayer::take_buffer(int64_t rows) {
  at::Tensor buffer = std::exchange(spare_, at::Tensor());
  if (buffer.defined() && buffer.size(0) == rows) return buffer;
  const auto options = weight_.options().dtype(real_type(weight_.scalar_type()));
  buffer.reset();
  return at::empty({rows, weight_.size(0)}, options);
}

void HeadLayer::forward(const at::Tensor& x, Saved& saved) {
  norm_.forward(x, saved.norm);
  saved.logits = take_buffer(x.size(0));
  linear_real(saved.norm.y, weight_, saved.logits);
  context_.tick();
}

LossSums HeadLayer::loss(const MicroBatch& batch, Saved& saved) const {
  const std::vector<double> nats = cross_entropy(
      saved.logits, targets_of(batch), context_.options.loss_seed * context_.gradient_scale);
  const at::ScalarType type = weight_.scalar_type();
  saved.grad_logits = is_half(type) ? round_in_place(saved.logits, type) : saved.logits;
  context_.tick();
  return sum_by_grain(batch, nats, context_.options.grain_samples);
}

at::Tensor HeadLayer::backward_input(Saved& saved) const {
  at::Tensor grad_x = linear_backward_input(saved.grad_logits, weight_);
  context_.tick();
  norm_.backward_input(grad_x, {}, saved.norm);
  return grad_x;
}

void HeadLayer::backward_weight(Saved& saved, GradSink& sink) {
  const bool tied = context_.model.tie_word_embeddings;
  const int group = context_.model.num_layers() - 1;
  const at::Tensor x = saved.norm.y;
  OpenGradient own(sink, *context_.parameters, group);
  norm_.backward_weight(saved.norm, own);
  if (!tied) linear_backward_weight(saved.grad_logits, x, own.part("head.weight"));
  own.close();
  if (tied) {
    OpenGradient shared(sink, *context_.parameters, group + 1);
    linear_backward_weight(saved.grad_logits, x, shared.part("embed.tokens.weight"));
    shared.close();
  }
  context_.tick();
  spare_ = std::move(saved.logits);
  saved = {};
}

LossSums HeadLayer::evaluate_loss(const MicroBatch& batch, const at::Tensor& x) {
  NormSaved norm;
  norm_.forward(x, norm);
  at::Tensor buffer = take_buffer(x.size(0));
  linear_real(norm.y, weight_, buffer);
  context_.tick();
  const std::vector<double> nats = cross_entropy(buffer, targets_of(batch), std::nullopt);
  spare_ = std::move(buffer);
  return sum_by_grain(batch, nats, context_.options.grain_samples);
}

at::Tensor HeadLayer::logits(const at::Tensor& x) const {
  NormSaved norm;
  norm_.forward(x, norm);
  at::Tensor out = at::empty({x.size(0), weight_.size(0)},
                             weight_.options().dtype(real_type(weight_.scalar_type())));
  linear_real(norm.y, weight_, out);
  return out;
}

}  // namespace kente
