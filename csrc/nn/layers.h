#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "csrc/nn/chunk.h"
#include "csrc/nn/ops/ops.h"

// The layers a chunk is made of. Each has forward, backward_input and backward_weight; a Saved
// struct carries what a micro-batch needs from one to the next.
//
// Bytes kept per token of a micro-batch. e: bytes of the compute dtype, 4 or 2; W = (H + 2K)
// head_dim; U = F for gpt2, else 2F; s = 8 for gpt2 (mean, rstd), else 4. H head_dim = D.
//
//   block, after forward:          e (5 D + W + U + F) + 4 H + 2 s
//                                  input, norm1, attn, mid, norm2; qkv; up; act
//     with recompute FULL:         e D: the input
//   block, after backward_input:   e (5 D + W + U + F)
//                                  norm1, dqkv; attn, dmid; norm2, dup; act, dout
//   embedding, after forward:      0
//   embedding, after backward_input: e D
//   head, after forward and loss:  2 e D + 4 V + s: input, norm; logits in f32
//   head, after backward_input:    e D + 4 V: norm; dlogits, if in 2 bytes in half of their memory
//
// Per micro-batch also 4 D for the gradient of each norm's weight, and of its bias. A block's
// output is the next layer's input and counted there, its output gradient likewise. The head is
// never recomputed: its backward follows at once in every schedule but GPipe.
//
// Beside that the head keeps one logits buffer (4 V a token of a micro-batch) from the first
// micro-batch on, lent to the micro-batch under way; a rotary chunk keeps its table, 4
// max_position_embeddings head_dim.
//
// Largest transients besides what is kept, per token of a micro-batch:
//
// (bf16 stands for f16 too.)
//
//   block, forward:         e D, the output; bf16: also 4 max(U, W, D), an f32 product
//   block, backward_input:  e max(F, 2 D); 4 (8 P + 65) per token of the longest attention
//                           segment, P: head_dim rounded up to 32; bf16: also 4 max(F, D)
//   recompute FULL:         both also what one block keeps after forward
//   head, backward_input:   e D, the output; bf16: also 4 D
//   loss, backward_weight:  none; evaluate_logits: 4 V
//
// On a CPU without bf16 instructions MKL widens the operands of a bf16 product to f32: 4 (m k + k
// n) bytes more, m, n and k at most 4096 (see ops/linear_cpu.cpp).

namespace kente {

/// What the layers of a chunk share.
struct LayerContext {
  ModelConfig model;
  ChunkOptions options;
  const Parameters* parameters = nullptr;
  Ops* ops = nullptr;
  double gradient_scale = 1;  // see Chunk::scale_gradients
  RopeTable rope;             // empty for gpt2
  std::function<void()> progress;

  bool gpt2() const { return model.family == ModelFamily::kGpt2; }
  /// Between operations.
  void tick() const {
    if (progress) progress();
  }
};

/// A group's flat gradient while a layer adds to it: opened by the constructor, closed by close().
class OpenGradient {
 public:
  OpenGradient(GradSink& sink, const Parameters& parameters, int group);
  /// The part of parameter name, with its shape.
  at::Tensor part(const std::string& name) const;
  void close();

 private:
  GradSink& sink_;
  const ParamGroup& layout_;
  at::Tensor flat_;
};

class EmbeddingLayer {
 public:
  struct Saved {
    at::Tensor grad_out;
    std::vector<at::Tensor> tensors() const { return {grad_out}; }
  };
  explicit EmbeddingLayer(const LayerContext& context);

  at::Tensor forward(const BatchOnDevice& batch) const;
  void backward_input(at::Tensor grad_out, Saved& saved) const;
  void backward_weight(const BatchOnDevice& batch, Saved& saved, GradSink& sink) const;

 private:
  const LayerContext& context_;
  at::Tensor tokens_, positions_;
};

/// Weight and bias of a norm, its gradient, and what its backward needs.
struct NormSaved {
  at::Tensor x, y, stats;
  at::Tensor grad_weight, grad_bias;
};

class NormLayer {
 public:
  NormLayer(const LayerContext& context, const std::string& name);
  void forward(const at::Tensor& x, NormSaved& saved) const;
  /// dy becomes dx + residual_grad; drops x and stats.
  void backward_input(const at::Tensor& dy, const at::Tensor& residual_grad,
                      NormSaved& saved) const;
  void backward_weight(NormSaved& saved, const OpenGradient& gradient) const;

 private:
  const LayerContext& context_;
  std::string name_;
  at::Tensor weight_, bias_;
};

class LinearLayer {
 public:
  enum class Bias { kNone, kYes };
  LinearLayer(const LayerContext& context, const std::string& name, Bias bias);
  at::Tensor forward(const at::Tensor& x, const at::Tensor& residual = {}) const;
  at::Tensor backward_input(const at::Tensor& dy) const;
  void backward_weight(const at::Tensor& dy, const at::Tensor& x,
                       const OpenGradient& gradient) const;

 private:
  Ops& ops_;
  std::string name_;
  at::Tensor weight_, bias_;
};

/// norm, attention, residual; norm, MLP, residual.
class BlockLayer {
 public:
  struct Saved {
    NormSaved norm1, norm2;  // norm1.x: the input; norm2.x: the residual stream between the halves
    at::Tensor qkv;          // after backward_input: its gradient
    AttentionOutput attn;
    at::Tensor up;   // after backward_input: its gradient
    at::Tensor act;  // input of mlp.down
    at::Tensor grad_mid, grad_out;
    std::vector<at::Tensor> tensors() const;
  };
  BlockLayer(const LayerContext& context, int layer);

  /// With recompute FULL saved holds only the input.
  at::Tensor forward(const BatchOnDevice& batch, at::Tensor x, Saved& saved) const;
  at::Tensor backward_input(const BatchOnDevice& batch, at::Tensor grad_out, Saved& saved) const;
  void backward_weight(Saved& saved, GradSink& sink) const;

 private:
  void run(const BatchOnDevice& batch, const at::Tensor& x, Saved& saved) const;

  const LayerContext& context_;
  int group_;
  AttentionHeads heads_;
  NormLayer norm1_;
  LinearLayer qkv_, out_;
  NormLayer norm2_;
  LinearLayer up_, down_;
};

/// Final norm, logits, loss.
class HeadLayer {
 public:
  struct Saved {
    NormSaved norm;
    at::Tensor logits;       // [rows, V]: Ops::logits_buffer; the memory of grad_logits
    at::Tensor grad_logits;  // compute dtype
    std::vector<at::Tensor> tensors() const;
  };
  explicit HeadLayer(const LayerContext& context);

  void forward(const at::Tensor& x, Saved& saved);
  PendingLoss loss(const BatchOnDevice& batch, Saved& saved) const;
  at::Tensor backward_input(Saved& saved) const;
  void backward_weight(Saved& saved, GradSink& sink);

  PendingLoss evaluate_loss(const BatchOnDevice& batch, const at::Tensor& x);
  /// [rows, V] as Ops::logits_buffer
  at::Tensor logits(const at::Tensor& x) const;

 private:
  at::Tensor take_buffer(int64_t rows);

  const LayerContext& context_;
  NormLayer norm_;
  at::Tensor weight_;
  at::Tensor spare_;  // a logits buffer between two micro-batches
};

}  // namespace kente
