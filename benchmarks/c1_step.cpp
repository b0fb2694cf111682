// C1: kente's training step on this machine's cores, a rank a core. benchmarks/c1_step.py starts it
// beside PyTorch and makes the table.
//
//   mpirun -n 2 build/cpu/bin/c1_step SHAPE DTYPE ORDERS
//
// SHAPE: gpt2-6.9m, llama-6.9m or gpt2-124m; DTYPE: f32 or bf16. Every rank reads its orders from
// the pipe ORDERS-<rank>, so that it sleeps while the other side trains. "steps N" runs N steps,
// "ceiling" measures matrix products on all ranks at once; rank 0 answers each with a line of JSON.
// The plan is the planner's, from kente bench's measurement, as in kente train.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "benchmarks/measured_cluster.h"
#include "benchmarks/trainee.h"
#include "comm/mpi.h"
#include "csrc/base/errors.h"
#include "csrc/config/parse.h"
#include "csrc/plan/planner.h"
#include "csrc/train/environment.h"
#include "csrc/train/gather.h"
#include "csrc/train/prepare_process.h"
#include "launch/program.h"

namespace kente {
namespace {

constexpr double kCeilingSeconds = 0.5;

Recipe gpt2_124m() {
  Recipe recipe = shape_6_9m(4);
  recipe.name = "124M";
  recipe.model.vocab_size = 50257;
  recipe.model.hidden_size = 768;
  recipe.model.intermediate_size = 3072;
  recipe.model.num_hidden_layers = 12;
  recipe.model.num_attention_heads = recipe.model.num_key_value_heads = 12;
  recipe.model.max_position_embeddings = 1024;
  return recipe;
}

Recipe llama_6_9m() {
  Recipe recipe = shape_6_9m(8);
  recipe.model.family = ModelFamily::kLlama;
  recipe.model.intermediate_size = 688;
  recipe.model.rope_theta = 10000;
  return recipe;
}

Recipe recipe_of(const std::string& shape, const std::string& dtype) {
  Recipe recipe;
  if (shape == "gpt2-6.9m") {
    recipe = shape_6_9m(8);
  } else if (shape == "llama-6.9m") {
    recipe = llama_6_9m();
  } else if (shape == "gpt2-124m") {
    recipe = gpt2_124m();
  } else {
    throw UsageError("no shape " + shape + ": gpt2-6.9m, llama-6.9m and gpt2-124m are known");
  }
  if (dtype != "f32" && dtype != "bf16") throw UsageError("no type " + dtype + ": f32 or bf16");
  recipe.numerics.compute = dtype == "f32" ? DType::kF32 : DType::kBF16;
  return recipe;
}

Plan plan_of(const Recipe& recipe, Communicator& world) {
  const ClusterProfile cluster = measured_cluster(recipe, world);
  const Plan mine = make_plan(CostModel(recipe, cluster), {}).finalists.at(0).plan;
  const std::string text =
      all_gather_text(world, to_text(mine), Deadline::after_seconds(60)).front();
  return parse_plan(text, "plan", recipe);
}

void answer(Communicator& world, const nlohmann::json& line) {
  if (world.rank() != 0) return;
  fmt::print("{}\n", line.dump());
  std::fflush(stdout);
}

int run(int argc, char** argv) {
  if (argc != 4) throw UsageError("usage: c1_step SHAPE DTYPE ORDERS; see benchmarks/c1_step.py");
  const std::string orders_path = argv[3];
  prepare_process();
  MpiSession session(nullptr, nullptr);
  const auto world = session.world();
  const Recipe recipe = recipe_of(argv[1], argv[2]);
  const Plan plan = plan_of(recipe, *world);
  Trainee trainee(recipe, plan, *world);
  answer(*world, {{"plan", to_text(plan)},
                  {"tokens", recipe.global_batch_tokens},
                  {"flops_per_token", model_flops_per_token(recipe)}});
  std::ifstream orders(orders_path + "-" + std::to_string(world->rank()));
  for (std::string line; std::getline(orders, line);) {
    std::istringstream words(line);
    std::string what;
    int steps = 0;
    words >> what >> steps;
    world->barrier(Deadline::after_seconds(600));
    if (what == "ceiling") {
      answer(*world, {{"flops", measure_ceiling(*world, cpu_ops(), recipe.numerics.compute,
                                                kCeilingSeconds, Deadline::after_seconds(60))}});
      continue;
    }
    std::vector<double> seconds;
    for (int step = 0; step < steps; ++step)
      seconds.push_back(max_over_ranks(*world, trainee.run()));
    answer(*world, {{"seconds", seconds}});
  }
  return 0;
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) { return kente::program_main("c1_step", kente::run, argc, argv); }
