#include <utility>

#include "csrc/nn/layers.h"

namespace kente {
namespace {

const char* weight_name(const ModelConfig& model) {
  return model.tie_word_embeddings ? "embed.tokens.weight" : "head.weight";
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
  buffer.reset();
  return context_.ops->logits_buffer(rows, weight_.size(0), weight_.scalar_type());
}

void HeadLayer::forward(const at::Tensor& x, Saved& saved) {
  norm_.forward(x, saved.norm);
  saved.logits = take_buffer(x.size(0));
  context_.ops->logits(saved.norm.y, weight_, saved.logits);
  context_.tick();
}

PendingLoss HeadLayer::loss(const BatchOnDevice& batch, Saved& saved) const {
  PendingLoss pending(
      context_.ops->cross_entropy(saved.logits, batch,
                                  context_.options.loss_seed * context_.gradient_scale),
      batch.host(), context_.options.grain_samples);
  saved.grad_logits = context_.ops->logits_gradient(saved.logits, weight_.scalar_type());
  context_.tick();
  return pending;
}

at::Tensor HeadLayer::backward_input(Saved& saved) const {
  at::Tensor grad_x = context_.ops->linear_backward_input(saved.grad_logits, weight_);
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
  if (!tied) context_.ops->linear_backward_weight(saved.grad_logits, x, own.part("head.weight"));
  own.close();
  if (tied) {
    OpenGradient shared(sink, *context_.parameters, group + 1);
    context_.ops->linear_backward_weight(saved.grad_logits, x, shared.part("embed.tokens.weight"));
    shared.close();
  }
  context_.tick();
  spare_ = std::move(saved.logits);
  saved = {};
}

PendingLoss HeadLayer::evaluate_loss(const BatchOnDevice& batch, const at::Tensor& x) {
  NormSaved norm;
  norm_.forward(x, norm);
  at::Tensor buffer = take_buffer(x.size(0));
  context_.ops->logits(norm.y, weight_, buffer);
  context_.tick();
  PendingLoss pending(context_.ops->cross_entropy(buffer, batch, std::nullopt), batch.host(),
                      context_.options.grain_samples);
  spare_ = std::move(buffer);
  return pending;
}

at::Tensor HeadLayer::logits(const at::Tensor& x) const {
  NormSaved norm;
  norm_.forward(x, norm);
  at::Tensor out = context_.ops->logits_buffer(x.size(0), weight_.size(0), weight_.scalar_type());
  context_.ops->logits(norm.y, weight_, out);
  return out;
}

}  // namespace kente
