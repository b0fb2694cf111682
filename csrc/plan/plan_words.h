#pragma once

#include <cstdint>
#include <string>

#include "csrc/plan/cost_model.h"

namespace kente {

/// "812 us", "3.41 ms", "1.32 s"
std::string seconds_words(double seconds);
/// "950 MiB", "1.20 GiB"
std::string bytes_words(int64_t bytes);
/// The profile's id of a rank's device.
const std::string& device_name(const CostModel& model, int rank);
/// "embedding, 1-3", "7, head": what people call layers 0 and the highest.
std::string layers_words(const ModelConfig& model, const LayerRange& range);

}  // namespace kente
