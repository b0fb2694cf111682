#include "csrc/nn/layers.h"

#include <ATen/ops/zeros.h>

#include <algorithm>
#include <utility>

#include "csrc/base/errors.h"
#include "csrc/nn/ops/element_type.h"
#include "csrc/nn/ops/embedding.h"
#include "csrc/nn/ops/linear.h"
#include "csrc/nn/ops/norm.h"

namespace kente {

OpenGradient::OpenGradient(GradSink& sink, const Parameters& parameters, int group)
    : sink_(sink), layout_(parameters.layout(group)), flat_(sink.open(group)) {
  KENTE_CHECK(flat_.numel() == layout_.size, "gradient of " + std::to_string(flat_.numel()) +
                                                 " elements, want " + std::to_string(layout_.size));
}

at::Tensor OpenGradient::part(const std::string& name) const {
  const auto spec =
      std::ranges::find_if(layout_.params, [&](const ParamSpec& s) { return s.name == name; });
  KENTE_CHECK(spec != layout_.params.end(), name + " in group " + std::to_string(layout_.index));
  return flat_.narrow(0, spec->offset, spec->count).view(spec->shape);
}

void OpenGradient::close() { sink_.close(layout_.index); }

EmbeddingLayer::EmbeddingLayer(const LayerContext& context)
    : context_(context), tokens_(context.parameters->view("embed.tokens.weight")) {
  if (context.gpt2()) positions_ = context.parameters->view("embed.positions.weight");
}

at::Tensor EmbeddingLayer::forward(const MicroBatch& batch) const {
  const int64_t rows = batch.samples * batch.length;
  at::Tensor x = embedding(tokens_, batch.plane(MicroBatch::kTokens), rows);
  if (positions_.defined()) add_embedding(positions_, batch.plane(MicroBatch::kPositions), x);
  return x;
}

void EmbeddingLayer::backward_input(at::Tensor grad_out, Saved& saved) const {
  saved.grad_out = std::move(grad_out);
}

void EmbeddingLayer::backward_weight(const MicroBatch& batch, Saved& saved, GradSink& sink) const {
  const bool tied = context_.model.tie_word_embeddings;
  const int32_t* tokens = batch.plane(MicroBatch::kTokens);
  if (positions_.defined() || !tied) {
    OpenGradient own(sink, *context_.parameters, 0);
    if (positions_.defined())
      embedding_backward(saved.grad_out, batch.plane(MicroBatch::kPositions),
                         own.part("embed.positions.weight"));
    if (!tied) embedding_backward(saved.grad_out, tokens, own.part("embed.tokens.weight"));
    own.close();
  }
  if (tied) {
    OpenGradient shared(sink, *context_.parameters, context_.model.num_layers());
    embedding_backward(saved.grad_out, tokens, shared.part("embed.tokens.weight"));
    shared.close();
  }
  saved = {};
}

NormLayer::NormLayer(const LayerContext& context, const std::string& name)
    : context_(context), name_(name), weight_(context.parameters->master_view(name + ".weight")) {
  if (context.gpt2()) bias_ = context.parameters->master_view(name + ".bias");
}

void NormLayer::forward(const at::Tensor& x, NormSaved& saved) const {
  const double epsilon = context_.model.norm_epsilon;
  NormOutput out =
      bias_.defined() ? layer_norm(x, weight_, bias_, epsilon) : rms_norm(x, weight_, epsilon);
  saved.x = x;
  saved.y = std::move(out.y);
  saved.stats = std::move(out.stats);
}

void NormLayer::backward_input(const at::Tensor& dy, const at::Tensor& residual_grad,
                               NormSaved& saved) const {
  saved.grad_weight = at::zeros(weight_.sizes(), weight_.options());
  if (bias_.defined()) {
    saved.grad_bias = at::zeros(bias_.sizes(), bias_.options());
    layer_norm_backward(saved.x, saved.stats, weight_, residual_grad, dy, saved.grad_weight,
                        saved.grad_bias);
  } else {
    rms_norm_backward(saved.x, saved.stats, weight_, residual_grad, dy, saved.grad_weight);
  }
  saved.x.reset();
  saved.stats.reset();
}

void NormLayer::backward_weight(NormSaved& saved, const OpenGradient& gradient) const {
  gradient.part(name_ + ".weight").add_(saved.grad_weight);
  if (bias_.defined()) gradient.part(name_ + ".bias").add_(saved.grad_bias);
  saved = {};
}

LinearLayer::LinearLayer(const LayerContext& context, const std::string& name, Bias bias)
    : name_(name), weight_(context.parameters->view(name + ".weight")) {
  if (bias == Bias::kYes) bias_ = context.parameters->master_view(name + ".bias");
}

at::Tensor LinearLayer::forward(const at::Tensor& x, const at::Tensor& residual) const {
  return linear(x, weight_, bias_, residual);
}

at::Tensor LinearLayer::backward_input(const at::Tensor& dy) const {
  return linear_backward_input(dy, weight_);
}

void LinearLayer::backward_weight(const at::Tensor& dy, const at::Tensor& x,
                                  const OpenGradient& gradient) const {
  linear_backward_weight(dy, x, gradient.part(name_ + ".weight"));
  if (bias_.defined()) add_column_sums(dy, gradient.part(name_ + ".bias"));
}

}  // namespace kente
