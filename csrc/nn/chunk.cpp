#include "csrc/nn/chunk.h"

#include <ATen/core/LegacyTypeDispatch.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "csrc/base/errors.h"
#include "csrc/nn/layers.h"
#include "csrc/nn/ops/element_type.h"

namespace kente {
namespace {

/// What a micro-batch under way keeps in this chunk.
struct UnderWay {
  std::unique_ptr<BatchOnDevice> batch;
  EmbeddingLayer::Saved embedding;
  std::vector<BlockLayer::Saved> blocks;
  HeadLayer::Saved head;
};

int64_t bytes_of(const std::vector<at::Tensor>& tensors) {
  int64_t bytes = 0;
  for (const at::Tensor& tensor : tensors)
    if (tensor.defined()) bytes += tensor.numel() * tensor.element_size();
  return bytes;
}

}  // namespace

// Row losses, summed by grain in row order.
LossSums PendingLoss::take() {
  const std::vector<double> nats = rows_->take();
  const int64_t grain_rows = grain_samples_ * batch_->length;
  const int32_t* mask = batch_->plane(MicroBatch::kLossMask);
  const auto grains = static_cast<size_t>((batch_->samples + grain_samples_ - 1) / grain_samples_);
  LossSums sums{std::vector<double>(grains), std::vector<int64_t>(grains)};
  for (size_t row = 0; row < nats.size(); ++row) {
    const size_t grain = row / static_cast<size_t>(grain_rows);
    sums.nats[grain] += nats[row];
    sums.tokens[grain] += mask[row] != 0 ? 1 : 0;
  }
  return sums;
}

struct Chunk::State {
  LayerContext context;
  std::optional<EmbeddingLayer> embedding;
  std::vector<BlockLayer> blocks;
  std::optional<HeadLayer> head;
  std::map<int, UnderWay> under_way;
  std::function<void(const LayerOp&)> observe;

  /// A layer has finished a pass of a micro-batch.
  void ended(LayerKind layer, LayerPass pass, const MicroBatch& batch) const {
    context.tick();
    if (!observe) return;
    const bool again = layer == LayerKind::kBlock && pass == LayerPass::kBackwardInput;
    observe({.layer = layer,
             .pass = pass,
             .samples = batch.samples,
             .recompute = again ? context.options.recompute : Recompute::kNone});
  }

  UnderWay& find(int micro_batch) {
    const auto found = under_way.find(micro_batch);
    KENTE_CHECK(found != under_way.end(), "micro-batch " + std::to_string(micro_batch));
    return found->second;
  }

  /// [samples, length, D] -> [rows, D], after checking it.
  at::Tensor flatten(const MicroBatch& batch, const at::Tensor& x) const {
    const int64_t d = context.model.hidden_size;
    KENTE_CHECK(x.defined() && x.dim() == 3 && x.size(0) == batch.samples &&
                    x.size(1) == batch.length && x.size(2) == d && x.is_contiguous(),
                "activation must be contiguous [" + std::to_string(batch.samples) + ", " +
                    std::to_string(batch.length) + ", " + std::to_string(d) + "]");
    return x.view({batch.samples * batch.length, d});
  }

  at::Tensor unflatten(const MicroBatch& batch, const at::Tensor& x) const {
    return x.view({batch.samples, batch.length, context.model.hidden_size});
  }

  /// The first layer's input, flat.
  at::Tensor start(const BatchOnDevice& on_device, const at::Tensor& input) const {
    const MicroBatch& batch = on_device.host();
    KENTE_CHECK(batch.length <= context.model.max_position_embeddings,
                std::to_string(batch.length) + " positions, the model has " +
                    std::to_string(context.model.max_position_embeddings));
    if (!embedding) return flatten(batch, input);
    KENTE_CHECK(!input.defined(), "the embedding takes no activation");
    at::Tensor x = embedding->forward(on_device);
    ended(LayerKind::kEmbedding, LayerPass::kForward, batch);
    return x;
  }
};

Chunk::Chunk(const ModelConfig& model, LayerRange layers, const ChunkOptions& options,
             const Parameters& parameters)
    : state_(std::make_unique<State>()) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  const int head = model.num_layers() - 1;
  KENTE_CHECK(0 <= layers.first && layers.first <= layers.last && layers.last <= head,
              "layers " + std::to_string(layers.first) + " .. " + std::to_string(layers.last));
  LayerContext& context = state_->context;
  context.model = model;
  context.options = options;
  context.parameters = &parameters;
  context.ops = &parameters.ops();
  if (!context.gpt2())
    context.rope =
        context.ops->rope_table(model.max_position_embeddings, model.head_dim(), model.rope_theta,
                                options.compute == DType::kF64 ? at::kDouble : at::kFloat);
  if (layers.first == 0) state_->embedding.emplace(context);
  for (int layer = std::max(layers.first, 1); layer <= std::min(layers.last, head - 1); ++layer)
    state_->blocks.emplace_back(context, layer);
  if (layers.last == head) state_->head.emplace(context);
}

Chunk::~Chunk() = default;

at::Tensor Chunk::forward(int micro_batch, const MicroBatch& batch, at::Tensor input) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  const auto [entry, is_new] = state_->under_way.try_emplace(micro_batch);
  KENTE_CHECK(is_new, "micro-batch " + std::to_string(micro_batch) + " is under way");
  UnderWay& saved = entry->second;
  saved.batch = state_->context.ops->upload(batch);
  saved.blocks.resize(state_->blocks.size());
  at::Tensor x = state_->start(*saved.batch, input);
  input.reset();
  for (size_t i = 0; i < state_->blocks.size(); ++i) {
    x = state_->blocks[i].forward(*saved.batch, x, saved.blocks[i]);
    state_->ended(LayerKind::kBlock, LayerPass::kForward, batch);
  }
  if (!state_->head) return state_->unflatten(batch, x);
  state_->head->forward(x, saved.head);
  state_->ended(LayerKind::kHead, LayerPass::kForward, batch);
  return {};
}

PendingLoss Chunk::loss(int micro_batch) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  KENTE_CHECK(state_->head.has_value(), "no head in this chunk");
  UnderWay& saved = state_->find(micro_batch);
  KENTE_CHECK(!saved.head.grad_logits.defined(), "loss of a micro-batch taken twice");
  PendingLoss pending = state_->head->loss(*saved.batch, saved.head);
  state_->ended(LayerKind::kHead, LayerPass::kLoss, saved.batch->host());
  return pending;
}

at::Tensor Chunk::backward_input(int micro_batch, at::Tensor output_grad) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  UnderWay& saved = state_->find(micro_batch);
  at::Tensor grad;
  if (state_->head) {
    KENTE_CHECK(!output_grad.defined() && saved.head.grad_logits.defined(),
                "the head's gradient comes from loss()");
    grad = state_->head->backward_input(saved.head);
    state_->ended(LayerKind::kHead, LayerPass::kBackwardInput, saved.batch->host());
  } else {
    grad = state_->flatten(saved.batch->host(), output_grad);
    output_grad.reset();
  }
  for (size_t i = state_->blocks.size(); i-- > 0;) {
    grad = state_->blocks[i].backward_input(*saved.batch, std::move(grad), saved.blocks[i]);
    state_->ended(LayerKind::kBlock, LayerPass::kBackwardInput, saved.batch->host());
  }
  if (!state_->embedding) return state_->unflatten(saved.batch->host(), grad);
  state_->embedding->backward_input(std::move(grad), saved.embedding);
  state_->ended(LayerKind::kEmbedding, LayerPass::kBackwardInput, saved.batch->host());
  return {};
}

void Chunk::backward_weight(int micro_batch, GradSink& sink) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  UnderWay& saved = state_->find(micro_batch);
  if (state_->head) {
    state_->head->backward_weight(saved.head, sink);
    state_->ended(LayerKind::kHead, LayerPass::kBackwardWeight, saved.batch->host());
  }
  for (size_t i = state_->blocks.size(); i-- > 0;) {
    state_->blocks[i].backward_weight(saved.blocks[i], sink);
    state_->ended(LayerKind::kBlock, LayerPass::kBackwardWeight, saved.batch->host());
  }
  if (state_->embedding) {
    state_->embedding->backward_weight(*saved.batch, saved.embedding, sink);
    state_->ended(LayerKind::kEmbedding, LayerPass::kBackwardWeight, saved.batch->host());
  }
  state_->under_way.erase(micro_batch);
}

at::Tensor Chunk::evaluate(const MicroBatch& batch, const at::Tensor& input) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  const auto on_device = state_->context.ops->upload(batch);
  at::Tensor x = state_->start(*on_device, input);
  for (const BlockLayer& block : state_->blocks) {
    BlockLayer::Saved dropped;
    x = block.forward(*on_device, x, dropped);
    state_->ended(LayerKind::kBlock, LayerPass::kForward, batch);
  }
  return state_->unflatten(batch, x);
}

PendingLoss Chunk::evaluate_loss(const MicroBatch& batch, const at::Tensor& input) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  KENTE_CHECK(state_->head.has_value(), "no head in this chunk");
  const auto on_device = state_->context.ops->upload(batch);
  PendingLoss pending = state_->head->evaluate_loss(*on_device, state_->flatten(batch, input));
  // One operation here; two to whoever counts them.
  state_->ended(LayerKind::kHead, LayerPass::kForward, batch);
  state_->ended(LayerKind::kHead, LayerPass::kLoss, batch);
  return pending;
}

at::Tensor Chunk::evaluate_logits(const MicroBatch& batch, const at::Tensor& input) {
  const at::AutoDispatchBelowADInplaceOrView no_autograd;
  KENTE_CHECK(state_->head.has_value(), "no head in this chunk");
  const at::Tensor logits = state_->head->logits(state_->flatten(batch, input));
  state_->ended(LayerKind::kHead, LayerPass::kForward, batch);
  return logits.view({batch.samples, batch.length, state_->context.model.vocab_size});
}

void Chunk::scale_gradients(double scale) { state_->context.gradient_scale = scale; }

void Chunk::on_progress(std::function<void()> progress) {
  state_->context.progress = std::move(progress);
}

void Chunk::on_layer(std::function<void(const LayerOp&)> observe) {
  state_->observe = std::move(observe);
}

int64_t Chunk::saved_bytes() const {
  int64_t bytes = 0;
  for (const auto& [number, saved] : state_->under_way) {
    bytes += bytes_of(saved.embedding.tensors()) + bytes_of(saved.head.tensors());
    for (const BlockLayer::Saved& block : saved.blocks) bytes += bytes_of(block.tensors());
  }
  return bytes;
}

}  // namespace kente
