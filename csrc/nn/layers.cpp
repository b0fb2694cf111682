#include "csrc/nn/layers.h"

#include <algorithm>
#include <utility>

#include "csrc/base/errors.h"
#include "csrc/nn/ops/element_type.h"

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

at::Tensor EmbeddingLayer::forward(const BatchOnDevice& batch) const {
  return context_.ops->embedding(tokens_, positions_, batch);
}

void EmbeddingLayer::backward_input(at::Tensor grad_out, Saved& saved) const {
  saved.grad_out = std::move(grad_out);
}

void EmbeddingLayer::backward_weight(const BatchOnDevice& batch, Saved& saved,
                                     GradSink& sink) const {
  const bool tied = context_.model.tie_word_embeddings;
  const auto add = [&](MicroBatch::Field field, const OpenGradient& gradient, const char* name) {
    context_.ops->embedding_backward(saved.grad_out, batch, field, gradient.part(name));
  };
  if (positions_.defined() || !tied) {
    OpenGradient own(sink, *context_.parameters, 0);
    if (positions_.defined()) add(MicroBatch::kPositions, own, "embed.positions.weight");
    if (!tied) add(MicroBatch::kTokens, own, "embed.tokens.weight");
    own.close();
  }
  if (tied) {
    OpenGradient shared(sink, *context_.parameters, context_.model.num_layers());
    add(MicroBatch::kTokens, shared, "embed.tokens.weight");
    shared.close();
  }
  saved = {};
}

NormLayer::NormLayer(const LayerContext& context, const std::string& name)
    : context_(context), name_(name), weight_(context.parameters->master_view(name + ".weight")) {
  if (context.gpt2()) bias_ = context.parameters->master_view(name + ".bias");
}

void NormLayer::forward(const at::Tensor& x, NormSaved& saved) const {
  NormOutput out = context_.ops->norm(x, weight_, bias_, context_.model.norm_epsilon);
  saved.x = x;
  saved.y = std::move(out.y);
  saved.stats = std::move(out.stats);
}

void NormLayer::backward_input(const at::Tensor& dy, const at::Tensor& residual_grad,
                               NormSaved& saved) const {
  saved.grad_weight = context_.ops->zeros(weight_.sizes(), weight_.scalar_type());
  if (bias_.defined()) saved.grad_bias = context_.ops->zeros(bias_.sizes(), bias_.scalar_type());
  context_.ops->norm_backward(saved.x, saved.stats, weight_, residual_grad, dy, saved.grad_weight,
                              saved.grad_bias);
  saved.x.reset();
  saved.stats.reset();
}

void NormLayer::backward_weight(NormSaved& saved, const OpenGradient& gradient) const {
  context_.ops->add(saved.grad_weight, gradient.part(name_ + ".weight"));
  if (bias_.defined()) context_.ops->add(saved.grad_bias, gradient.part(name_ + ".bias"));
  saved = {};
}

LinearLayer::LinearLayer(const LayerContext& context, const std::string& name, Bias bias)
    : ops_(*context.ops), name_(name), weight_(context.parameters->view(name + ".weight")) {
  if (bias == Bias::kNone) return;
  bias_ = ops_.wants_real_bias() ? context.parameters->master_view(name + ".bias")
                                 : context.parameters->view(name + ".bias");
}

at::Tensor LinearLayer::forward(const at::Tensor& x, const at::Tensor& residual) const {
  return ops_.linear(x, weight_, bias_, residual);
}

at::Tensor LinearLayer::backward_input(const at::Tensor& dy) const {
  return ops_.linear_backward_input(dy, weight_);
}

void LinearLayer::backward_weight(const at::Tensor& dy, const at::Tensor& x,
                                  const OpenGradient& gradient) const {
  ops_.linear_backward_weight(dy, x, gradient.part(name_ + ".weight"));
  if (bias_.defined()) ops_.add_column_sums(dy, gradient.part(name_ + ".bias"));
}

}  // namespace kente
