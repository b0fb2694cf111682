#pragma once

#include <cstdint>
#include <vector>

#include "csrc/config/recipe.h"

namespace kente {

/// Forward FLOPs a token of each layer, embedding and head included; backward costs twice as much.
///   block: 2 x (elements of its matrices) + 2 T H head_dim (causal attention, averaged over
///   positions) head:  2 D V + 8 V (softmax)      embedding: 2 D
/// Source: Narayanan et al. 2021, arXiv:2104.04473, appendix; there attention is not halved.
std::vector<double> forward_flops_per_token(const ModelConfig& model, int64_t sequence_length);

}  // namespace kente
