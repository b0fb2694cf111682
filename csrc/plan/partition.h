#pragma once

#include <vector>

namespace kente {

/// Cuts layers into contiguous parts: first the dearest part is made as cheap as possible, then the
/// sum of squares of all parts. Returns parts + 1 borders: part i holds layers borders[i] ..
/// borders[i + 1] - 1, at least one. Of equal cuts the one with later borders. O(parts x layers^2).
/// 1 <= parts <= costs.size().
std::vector<int> split_evenly(const std::vector<double>& costs, int parts);

}  // namespace kente
