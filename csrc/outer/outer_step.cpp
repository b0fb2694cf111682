#include "csrc/outer/outer_step.h"

#include "csrc/base/errors.h"

namespace kente {

void outer_step(const OuterFactors& factors, std::span<const float> mean, std::span<float> momentum,
                std::span<float> weights) {
  KENTE_CHECK(mean.size() == weights.size() && momentum.size() == weights.size(), "sizes differ");
  const double lr = factors.learning_rate, mu = factors.momentum;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double moved = static_cast<double>(weights[i]) - static_cast<double>(mean[i]);
    const double velocity = mu * static_cast<double>(momentum[i]) + moved;
    momentum[i] = static_cast<float>(velocity);
    // The same as weights - lr (moved + mu velocity), from the other end: exact for lr 1, mu 0.
    const double beyond = (1 - lr) * moved - lr * mu * velocity;
    weights[i] = beyond == 0 ? mean[i] : static_cast<float>(static_cast<double>(mean[i]) + beyond);
  }
}

}  // namespace kente
