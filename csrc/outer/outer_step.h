#pragma once

#include <span>

namespace kente {

/// The optimizer of rounds: Nesterov's momentum on what the labs' weights moved.
struct OuterFactors {
  double learning_rate = 0.7;
  double momentum = 0.9;
};

/// One step from the weights agreed on, with mean the labs' mean weights [weights]:
///   moved = weights - mean;  momentum <- mu momentum + moved;
///   weights <- weights - lr (moved + mu momentum)
/// computed in double and rounded once, so that with lr 1 and mu 0 the weights are mean to the bit.
/// Source: Douillard et al. 2023, arXiv:2311.08105, algorithm 1; Sutskever et al. 2013, ICML,
/// equations 6 and 7 for the momentum.
void outer_step(const OuterFactors& factors, std::span<const float> mean, std::span<float> momentum,
                std::span<float> weights);

}  // namespace kente
