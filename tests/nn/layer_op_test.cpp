#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <utility>
#include <vector>

#include "tests/nn/tiny_model.h"

namespace kente {
namespace {

constexpr auto kE = LayerKind::kEmbedding, kB = LayerKind::kBlock, kH = LayerKind::kHead;
constexpr auto kF = LayerPass::kForward, kL = LayerPass::kLoss, kI = LayerPass::kBackwardInput,
               kW = LayerPass::kBackwardWeight;

/// A chunk of the tiny model's layers (2 blocks) that notes what it has done.
class LayerOps : public testing::Test {
 protected:
  LayerOps()
      : model_(tiny_model(ModelFamily::kGpt2, true)), batch_(tiny_batch(model_, 3, 8, false)) {}

  void make(LayerRange layers, Recompute recompute = Recompute::kNone) {
    parameters_.emplace(model_, all_layers(model_), DType::kF32);
    randomize(*parameters_);
    chunk_.emplace(model_, layers, ChunkOptions{.recompute = recompute}, *parameters_);
    chunk_->on_layer([this](const LayerOp& op) { ops_.push_back(op); });
  }
  std::vector<LayerOp> take() { return std::exchange(ops_, {}); }
  static LayerOp op(LayerKind layer, LayerPass pass, Recompute recompute = Recompute::kNone) {
    return {.layer = layer, .pass = pass, .samples = 3, .recompute = recompute};
  }

  ModelConfig model_;
  MicroBatch batch_;
  std::optional<Parameters> parameters_;
  std::optional<Chunk> chunk_;
  std::vector<LayerOp> ops_;
};

TEST_F(LayerOps, EveryLayerOfEveryPassIsReportedOnceInItsOrder) {
  make({.first = 0, .last = 3});
  MapSink sink(*parameters_);
  chunk_->forward(0, batch_, {});
  EXPECT_THAT(take(), testing::ElementsAre(op(kE, kF), op(kB, kF), op(kB, kF), op(kH, kF)));
  chunk_->loss(0);
  EXPECT_THAT(take(), testing::ElementsAre(op(kH, kL)));
  chunk_->backward_input(0, {});
  EXPECT_THAT(take(), testing::ElementsAre(op(kH, kI), op(kB, kI), op(kB, kI), op(kE, kI)));
  chunk_->backward_weight(0, sink);
  EXPECT_THAT(take(), testing::ElementsAre(op(kH, kW), op(kB, kW), op(kB, kW), op(kE, kW)));
}

TEST_F(LayerOps, AnEvaluationReportsItsForwardsAndItsLoss) {
  make({.first = 0, .last = 3});
  const at::Tensor x = chunk_->evaluate(batch_, {});
  EXPECT_THAT(take(), testing::ElementsAre(op(kE, kF), op(kB, kF), op(kB, kF)));
  chunk_->evaluate_loss(batch_, x);
  EXPECT_THAT(take(), testing::ElementsAre(op(kH, kF), op(kH, kL)));
  chunk_->evaluate_logits(batch_, x);
  EXPECT_THAT(take(), testing::ElementsAre(op(kH, kF)));
}

TEST_F(LayerOps, ABlockThatIsComputedAgainSaysSo) {
  make({.first = 0, .last = 3}, Recompute::kFull);
  chunk_->forward(0, batch_, {});
  chunk_->loss(0);
  take();
  chunk_->backward_input(0, {});
  EXPECT_THAT(take(), testing::ElementsAre(op(kH, kI), op(kB, kI, Recompute::kFull),
                                           op(kB, kI, Recompute::kFull), op(kE, kI)));
}

TEST_F(LayerOps, AChunkInTheMiddleReportsOnlyItsBlocks) {
  make({.first = 1, .last = 1});
  chunk_->forward(0, batch_, at::zeros({3, 8, model_.hidden_size}));
  EXPECT_THAT(take(), testing::ElementsAre(op(kB, kF)));
}

}  // namespace
}  // namespace kente
