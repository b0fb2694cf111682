#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace kente {

/// Something that the supervisor did or saw.
struct LaunchEvent {
  std::string kind;
  int64_t step = 0;
  std::string detail;
  int incarnation = 0;  // of the ranks it is about
  int rank = -1;        // whose fault; -1: nobody's alone
  std::optional<double> seconds = std::nullopt;
};

/// One line in RUN/events.jsonl and one for whoever watches. A disk that fails is told, not more.
void tell(const std::string& run_directory, const LaunchEvent& event);

}  // namespace kente
