#include "csrc/base/progress_board.h"

#include <array>

namespace kente {

std::string_view name_of(Phase phase) {
  constexpr std::array<std::string_view, kPhases> kNames = {
      "start",  "data", "forward", "backward", "waiting for a neighbour",
      "reduce", "step", "gather",  "snapshot", "validate",
      "save",   "end"};
  return kNames.at(static_cast<size_t>(phase));
}

bool waits_for_others(Phase phase) {
  switch (phase) {
    case Phase::kMessage:
    case Phase::kReduce:
    case Phase::kStep:
    case Phase::kGather:
    case Phase::kSnapshot:
    case Phase::kValidate:
    case Phase::kSave:
    case Phase::kStart:
      return true;
    case Phase::kData:
    case Phase::kForward:
    case Phase::kBackward:
    case Phase::kEnd:
      return false;
  }
  return false;
}

}  // namespace kente
