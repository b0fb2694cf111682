#include <utility>

#include "csrc/nn/layers.h"

namespace kente {
namespace {

using Bias = LinearLayer::Bias;

std::string prefix(int layer) { return "layers." + std::to_string(layer - 1) + "."; }

Bias gpt2_bias(const LayerContext& context) { return context.gpt2() ? Bias::kYes : Bias::kNone; }

Bias qkv_bias(const LayerContext& context) {
  return context.model.family == ModelFamily::kLlama ? Bias::kNone : Bias::kYes;
}

}  // namespace

BlockLayer::BlockLayer(const LayerContext& context, int layer)
    : context_(context),
      group_(layer),
      heads_{.heads = context.model.num_attention_heads,
             .kv_heads = context.model.num_key_value_heads,
             .head_dim = context.model.head_dim()},
      norm1_(context, prefix(layer) + "norm1"),
      qkv_(context, prefix(layer) + "attn.qkv", qkv_bias(context)),
      out_(context, prefix(layer) + "attn.out", gpt2_bias(context)),
      norm2_(context, prefix(layer) + "norm2"),
      up_(context, prefix(layer) + (context.gpt2() ? "mlp.up" : "mlp.gate_up"), gpt2_bias(context)),
      down_(context, prefix(layer) + "mlp.down", gpt2_bias(context)) {}

std::vector<at::Tensor> BlockLayer::Saved::tensors() const {
  return {norm1.x,
          norm1.y,
          norm1.stats,
          norm1.grad_weight,
          norm1.grad_bias,
          norm2.x,
          norm2.y,
          norm2.stats,
          norm2.grad_weight,
          norm2.grad_bias,
          qkv,
          attn.out,
          attn.logsumexp,
          up,
          act,
          grad_mid,
          grad_out};
}

void BlockLayer::run(const BatchOnDevice& batch, const at::Tensor& x, Saved& saved) const {
  norm1_.forward(x, saved.norm1);
  saved.qkv = qkv_.forward(saved.norm1.y);
  context_.tick();
  if (!context_.gpt2())
    context_.ops->rope(saved.qkv, heads_.heads + heads_.kv_heads, batch, context_.rope,
                       RopeDirection::kForward);
  saved.attn =
      context_.ops->attention(saved.qkv, heads_, batch, context_.options.stop_at_documents);
  context_.tick();
  norm2_.forward(out_.forward(saved.attn.out, x), saved.norm2);
  context_.tick();
  saved.up = up_.forward(saved.norm2.y);
  context_.tick();
  saved.act = context_.gpt2() ? context_.ops->gelu(saved.up) : context_.ops->swiglu(saved.up);
}

at::Tensor BlockLayer::forward(const BatchOnDevice& batch, at::Tensor x, Saved& saved) const {
  run(batch, x, saved);
  at::Tensor y = down_.forward(saved.act, saved.norm2.x);
  if (context_.options.recompute == Recompute::kFull) {
    saved = {};
    saved.norm1.x = std::move(x);
  }
  return y;
}

at::Tensor BlockLayer::backward_input(const BatchOnDevice& batch, at::Tensor grad_out,
                                      Saved& saved) const {
  if (context_.options.recompute == Recompute::kFull) run(batch, at::Tensor(saved.norm1.x), saved);

  at::Tensor grad_act = down_.backward_input(grad_out);
  context_.tick();
  if (context_.gpt2()) {
    context_.ops->gelu_backward(saved.up, grad_act);
  } else {
    context_.ops->swiglu_backward(saved.up, grad_act);
  }
  grad_act.reset();
  saved.grad_mid = up_.backward_input(saved.up);
  norm2_.backward_input(saved.grad_mid, grad_out, saved.norm2);
  saved.grad_out = std::move(grad_out);
  context_.tick();

  const at::Tensor grad_attn = out_.backward_input(saved.grad_mid);
  context_.tick();
  context_.ops->attention_backward(saved.qkv, heads_, batch, context_.options.stop_at_documents,
                                   saved.attn, grad_attn);
  saved.attn.logsumexp.reset();
  saved.attn.state = {};
  if (!context_.gpt2())
    context_.ops->rope(saved.qkv, heads_.heads + heads_.kv_heads, batch, context_.rope,
                       RopeDirection::kBackward);
  context_.tick();
  at::Tensor grad_x = qkv_.backward_input(saved.qkv);
  norm1_.backward_input(grad_x, saved.grad_mid, saved.norm1);
  return grad_x;
}

void BlockLayer::backward_weight(Saved& saved, GradSink& sink) const {
  OpenGradient gradient(sink, *context_.parameters, group_);
  down_.backward_weight(saved.grad_out, saved.act, gradient);
  saved.act.reset();
  saved.grad_out.reset();
  context_.tick();
  up_.backward_weight(saved.up, saved.norm2.y, gradient);
  saved.up.reset();
  norm2_.backward_weight(saved.norm2, gradient);
  context_.tick();
  out_.backward_weight(saved.grad_mid, saved.attn.out, gradient);
  context_.tick();
  qkv_.backward_weight(saved.qkv, saved.norm1.y, gradient);
  norm1_.backward_weight(saved.norm1, gradient);
  gradient.close();
  saved = {};
}

}  // namespace kente
