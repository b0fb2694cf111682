// The nano recipe on pretended GPUs, which take minutes for what a CPU does in a second.
#include <gtest/gtest.h>

#include "csrc/config/parse.h"
#include "tests/pretend/pretend_gpu.h"
#include "tests/train/steps_on_gpus.h"

namespace kente {
namespace {

TEST(NanoOnGpus, ThreeStepsOfTwoByTwoRanksHaveTheLossesOfTheCpu) {
  const std::string path = std::string(KENTE_RECIPES) + "/nano-llama.textproto";
  // Its model; a pretended product takes as long as a short sample allows.
  Recipe recipe =
      load_recipe(path, {"steps=3", "lr.warmup_steps=1", "lr.decay_steps=1", "sequence_length=16",
                         "grain_samples=1", "global_batch_tokens=64"});
  recipe.numerics.reduction = Reduction::kFast;
  const int blocks = static_cast<int>(recipe.model.num_hidden_layers);
  const Plan plan =
      plan_from_borders({{0, blocks / 2, blocks + 2}, {0, blocks / 2 + 2, blocks + 2}}, {3, 1});
  const Trained want = train_steps(recipe, plan, {false, false, false, false});
  for (const TransportChoice transport : {TransportChoice::kAuto, TransportChoice::kHost}) {
    pretend::PretendNode node(4, 1);
    expect_near(train_steps(recipe, plan, {true, true, true, true}, {}, transport), want, 1e-5);
  }
}

}  // namespace
}  // namespace kente
