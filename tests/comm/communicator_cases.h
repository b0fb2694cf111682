#pragma once

#include <functional>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace kente {

/// One claim about every communicator; all ranks run it together. Failures are gtest's.
struct CommunicatorCase {
  std::string name;
  std::function<void(Communicator&)> run;
};

/// The claims that every implementation must hold, for any number of ranks.
const std::vector<CommunicatorCase>& communicator_cases();

/// A deadline that only a hang reaches.
Deadline soon();

}  // namespace kente
