// Whole models in double: the explicit backward against central differences of the loss.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <string>
#include <tuple>

#include "csrc/base/rng.h"
#include "tests/nn/tiny_model.h"

namespace kente {
namespace {

constexpr int64_t kSamples = 2;
constexpr int64_t kTokens = 9;
constexpr double kStep = 1e-5;
// The truncation error is h^2 times a third derivative, the rounding error 1e-14 / h.
constexpr double kTolerance = 1e-7;

struct GradientCase {
  ModelFamily family;
  bool tied;
  bool stop_at_documents;
  Recompute recompute;
};

class ModelGradient : public testing::TestWithParam<GradientCase> {
 protected:
  ModelGradient()
      : model_(tiny_model(GetParam().family, GetParam().tied)),
        parameters_(model_, all_layers(model_), DType::kF64),
        batch_(tiny_batch(model_, kSamples, kTokens, GetParam().stop_at_documents)) {
    randomize(parameters_);
  }

  ChunkOptions options() const {
    ChunkOptions options;
    options.compute = DType::kF64;
    options.recompute = GetParam().recompute;
    options.stop_at_documents = GetParam().stop_at_documents;
    options.loss_seed = 0.25;
    return options;
  }

  /// loss_seed times the sum of all nats, by the forward-only path.
  double loss(Chunk& chunk, const at::Tensor& input) {
    const LossSums sums = chunk.evaluate_loss(batch_, chunk.evaluate(batch_, input)).take();
    return 0.25 * std::accumulate(sums.nats.begin(), sums.nats.end(), 0.0);
  }

  /// d loss / d values[index] by central differences.
  double slope(Chunk& chunk, const at::Tensor& input, double* value) {
    const double kept = *value;
    *value = kept + kStep;
    const double above = loss(chunk, input);
    *value = kept - kStep;
    const double below = loss(chunk, input);
    *value = kept;
    return (above - below) / (2 * kStep);
  }

  static void expect_close(double got, double want, const std::string& where) {
    EXPECT_NEAR(got, want, kTolerance * std::max(1.0, std::abs(want))) << where;
  }

  ModelConfig model_;
  Parameters parameters_;
  MicroBatch batch_;
};

TEST_P(ModelGradient, OfEveryParameterMatchesCentralDifferences) {
  Chunk chunk(model_, {0, model_.num_layers() - 1}, options(), parameters_);
  MapSink sink(parameters_);
  chunk.forward(0, batch_, {});
  chunk.loss(0);
  chunk.backward_input(0, {});
  chunk.backward_weight(0, sink);
  for (const int group : parameters_.groups()) {
    for (const ParamSpec& spec : parameters_.layout(group).params) {
      double* values = parameters_.master(group).mutable_data_ptr<double>() + spec.offset;
      const double* gradient = sink.gradients.at(group).const_data_ptr<double>() + spec.offset;
      for (uint64_t draw = 0; draw < 6; ++draw) {
        const auto i = static_cast<int64_t>(
            random_bits(5, RngUse::kTest, static_cast<uint64_t>(spec.init_stream), draw) %
            static_cast<uint64_t>(spec.count));
        expect_close(gradient[i], slope(chunk, {}, values + i),
                     spec.name + "[" + std::to_string(i) + "]");
      }
    }
  }
}

TEST_P(ModelGradient, OfEveryParameterAlongRandomDirectionsMatches) {
  Chunk chunk(model_, {0, model_.num_layers() - 1}, options(), parameters_);
  MapSink sink(parameters_);
  chunk.forward(0, batch_, {});
  chunk.loss(0);
  chunk.backward_input(0, {});
  chunk.backward_weight(0, sink);
  for (const int group : parameters_.groups()) {
    for (const ParamSpec& spec : parameters_.layout(group).params) {
      double* values = parameters_.master(group).mutable_data_ptr<double>() + spec.offset;
      const std::vector<double> kept(values, values + spec.count);
      const std::vector<double> direction = values_of(random_tensor({spec.count}, 77));
      const double* gradient = sink.gradients.at(group).const_data_ptr<double>() + spec.offset;
      double want = 0;
      for (size_t i = 0; i < kept.size(); ++i) want += gradient[i] * direction[i];
      const auto move = [&](double by) {
        for (size_t i = 0; i < kept.size(); ++i) values[i] = kept[i] + by * direction[i];
        return loss(chunk, {});
      };
      constexpr double kSmall = 1e-6;  // a direction is as long as sqrt(count)
      const double slope = (move(kSmall) - move(-kSmall)) / (2 * kSmall);
      move(0);
      EXPECT_NEAR(slope, want, 2e-6 * std::max(1.0, std::abs(want))) << spec.name;
    }
  }
}

TEST_P(ModelGradient, OfTheInputOfABlockMatchesCentralDifferences) {
  Chunk chunk(model_, {1, model_.num_layers() - 1}, options(), parameters_);
  at::Tensor input = random_tensor({kSamples, kTokens, model_.hidden_size}, 9);
  chunk.forward(0, batch_, input);
  chunk.loss(0);
  const std::vector<double> gradient = values_of(chunk.backward_input(0, {}));
  for (size_t i = 0; i < gradient.size(); i += 23)
    expect_close(gradient[i], slope(chunk, input, input.mutable_data_ptr<double>() + i),
                 "input[" + std::to_string(i) + "]");
}

std::vector<GradientCase> gradient_cases() {
  std::vector<GradientCase> all;
  for (const ModelFamily family : {ModelFamily::kGpt2, ModelFamily::kLlama, ModelFamily::kQwen2})
    for (const bool tied : {true, false})
      for (const bool documents : {false, true})
        for (const Recompute recompute : {Recompute::kNone, Recompute::kFull})
          if (documents || recompute == Recompute::kNone || tied)
            all.push_back({family, tied, documents, recompute});
  return all;
}

std::string name_of_gradient(const testing::TestParamInfo<GradientCase>& info) {
  const char* families[] = {"Gpt2", "Llama", "Qwen2"};
  std::string name = families[static_cast<int>(info.param.family)];
  name += info.param.tied ? "Tied" : "Untied";
  if (info.param.stop_at_documents) name += "StopsAtDocuments";
  if (info.param.recompute == Recompute::kFull) name += "Recomputes";
  return name;
}

INSTANTIATE_TEST_SUITE_P(Families, ModelGradient, testing::ValuesIn(gradient_cases()),
                         name_of_gradient);

}  // namespace
}  // namespace kente
