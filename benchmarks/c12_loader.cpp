// C12: what reading shuffled samples costs beside a step of training on them, on one thread.
// benchmarks/c12_data.py prepares the data and starts it.
//
//   build/cpu/bin/c12_loader RECIPE DATA
//
// Prints a line of JSON: tokens a second of TrainingData, and of one rank that trains the recipe's
// model, in rounds that take turns; each a list.
#include <cstdio>
#include <nlohmann/json.hpp>
#include <vector>

#include "benchmarks/trainee.h"
#include "comm/local.h"
#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/config/parse.h"
#include "csrc/data/loader.h"
#include "csrc/plan/mesh.h"
#include "csrc/train/prepare_process.h"
#include "launch/program.h"

namespace kente {
namespace {

constexpr int kRounds = 7;
constexpr int kStepsRead = 50;  // a round; far fewer are trained

struct Rates {
  std::vector<double> read, trained;
};

Rates measure(const Recipe& recipe, const TrainingData& data, Communicator& world) {
  Trainee trainee(recipe, even_plan(recipe, world.size()), world);
  trainee.run();
  const int64_t samples = recipe.samples_per_step();
  const auto tokens = static_cast<double>(samples * recipe.sequence_length);
  Rates rates;
  int64_t next = 0;
  for (int round = 0; round < kRounds; ++round) {
    const int64_t began = now_ns();
    for (int step = 0; step < kStepsRead; ++step, next += samples) data.load(next, samples);
    rates.read.push_back(kStepsRead * tokens / seconds_since(began));
    rates.trained.push_back(tokens / trainee.run());
  }
  return rates;
}

int run(int argc, char** argv) {
  if (argc != 3) throw UsageError("usage: c12_loader RECIPE DATA; see benchmarks/c12_data.py");
  prepare_process();
  const Recipe recipe = load_recipe(argv[1]);
  const TrainingData data(recipe, argv[2]);
  const Rates rates = measure(recipe, data, *make_single());
  const nlohmann::json told = {{"read", rates.read}, {"trained", rates.trained}};
  std::printf("%s\n", told.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) {
  return kente::program_main("c12_loader", kente::run, argc, argv);
}
