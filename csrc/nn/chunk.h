#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "csrc/base/micro_batch.h"
#include "csrc/config/plan.h"
#include "csrc/config/recipe.h"
#include "csrc/nn/layer_op.h"
#include "csrc/nn/ops/ops.h"
#include "csrc/nn/parameters.h"

namespace kente {

struct ChunkOptions {
  DType compute = DType::kF32;
  Recompute recompute = Recompute::kNone;
  bool stop_at_documents = false;
  /// dlogits are seeded with it: 2^-ceil(log2 tokens of the step).
  double loss_seed = 1;
  int64_t grain_samples = 1;
};

/// Sums over the targets of a micro-batch, one entry a grain: nats in double, in fixed order.
struct LossSums {
  std::vector<double> nats;
  std::vector<int64_t> tokens;
};

/// The same, when the device may still be at work on it. The micro-batch must outlive it.
class PendingLoss {
 public:
  PendingLoss(std::unique_ptr<RowLosses> rows, const MicroBatch& batch, int64_t grain_samples)
      : rows_(std::move(rows)), batch_(&batch), grain_samples_(grain_samples) {}
  /// Waits for the device; once.
  LossSums take();

 private:
  std::unique_ptr<RowLosses> rows_;
  const MicroBatch* batch_;
  int64_t grain_samples_;
};

/// Contiguous layers on one rank: explicit forward and backward, no autograd. Keeps what a
/// micro-batch's backward needs under its number until backward_weight. Activations are [samples,
/// length, D] in the compute dtype, contiguous. One thread.
class Chunk {
 public:
  Chunk(const ModelConfig& model, LayerRange layers, const ChunkOptions& options,
        const Parameters& parameters);
  ~Chunk();

  /// input is undefined when the chunk starts with the embedding. The result is undefined when it
  /// ends with the head: then loss() follows. batch must live until backward_weight.
  at::Tensor forward(int micro_batch, const MicroBatch& batch, at::Tensor input);
  /// Head only: cross-entropy of the logits; keeps their gradient (times loss_seed) for
  /// backward_input.
  PendingLoss loss(int micro_batch);
  /// output_grad is undefined on the head. Returns the gradient of input; undefined on the
  /// embedding.
  at::Tensor backward_input(int micro_batch, at::Tensor output_grad);
  /// Adds this micro-batch's weight gradients, layer by layer from the last, and forgets it.
  void backward_weight(int micro_batch, GradSink& sink);

  /// Forward only, keeps nothing. As forward(); for a chunk that ends with the head, evaluate_loss
  /// and evaluate_logits take the head's input.
  at::Tensor evaluate(const MicroBatch& batch, const at::Tensor& input);
  PendingLoss evaluate_loss(const MicroBatch& batch, const at::Tensor& input);
  /// [samples, length, V] f32 (f64); of a GPU's chunk in the compute dtype
  at::Tensor evaluate_logits(const MicroBatch& batch, const at::Tensor& input);

  /// From the next loss() on the gradients that start here are times scale. What comes in as
  /// output_grad is, then, and what goes out and is added to the sink, too: the caller's affair.
  void scale_gradients(double scale);

  /// Called between layer operations; for Communicator::progress.
  void on_progress(std::function<void()> progress);
  /// Called once after every layer of every pass, the loss and evaluations included.
  void on_layer(std::function<void(const LayerOp&)> observe);

  /// Bytes kept at present for micro-batches under way.
  int64_t saved_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kente
