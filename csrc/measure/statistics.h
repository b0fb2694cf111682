#pragma once

#include <vector>

namespace kente {

/// The value below which a share q of the values lie, between neighbours by a straight line. Needs
/// at least one value.
double quantile(std::vector<double> values, double q);

inline double median(const std::vector<double>& values) { return quantile(values, 0.5); }

/// The mean without the smallest and the largest share of the values, each rounded down to whole
/// ones. Needs at least one value; share below 0.5.
double trimmed_mean(std::vector<double> values, double share);

/// Interquartile range over median; 0 for a single value or a median of 0.
double relative_spread(const std::vector<double>& values);

}  // namespace kente
