#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "comm/communicator.h"
#include "csrc/base/micro_batch.h"
#include "csrc/config/imitation.h"
#include "csrc/train/pacer.h"
#include "csrc/train/step.h"

namespace kente {

/// Random tokens, the same for a stream on every machine.
MicroBatch random_batch(const Recipe& recipe, int64_t samples, uint64_t stream);

/// The 6.9M GPT-2 shape: V 8192, T 256, D 256, L 6, H 8; so many grains of one sample a step.
Recipe shape_6_9m(int64_t grains);

/// A model so small that waiting is all the time there is, of so many blocks and grains a step.
Recipe tiny_shape(int64_t blocks, int64_t grains);

/// A model, its optimizer and its step over one communicator, training on random tokens.
class Trainee {
 public:
  /// A collective. imitation: ranks that wait; null: all compute at their own speed.
  Trainee(const Recipe& recipe, const Plan& plan, Communicator& world,
          const Imitation* imitation = nullptr);

  /// Seconds of one step on this rank.
  double run();

  const Recipe& recipe() const { return recipe_; }
  const Plan& plan() const { return plan_; }
  const Mesh& mesh() const { return mesh_; }
  PipeRunner& runner() { return step_.runner(); }
  /// Empty without an imitation.
  const std::optional<Pacer>& pacer() const { return pacer_; }

 private:
  const Recipe recipe_;
  const Plan plan_;
  const Mesh mesh_;
  Parameters parameters_;
  AdamW optimizer_;
  Step step_;
  std::optional<Pacer> pacer_;
  int replica_;
  bool reads_;
  int64_t steps_ = 0;
};

/// The slowest rank's value. A collective.
double max_over_ranks(Communicator& world, double value);

double median_of(std::vector<double> values);

/// Seconds of a step of ranks that wait, by the slowest one's clock: the median of so many after
/// one that warms up. A collective.
double median_step(const Recipe& recipe, const Plan& plan, const Imitation& imitation,
                   Communicator& world, int steps);

}  // namespace kente
