#pragma once

#include <string>

namespace kente {

enum class Severity {
  kNote,  // worth knowing
  kWarn,  // costs speed or will hurt later
  kStop,  // a run would fail or train something else
};

/// Something about a cluster that would hurt a run, named before it does.
struct Finding {
  Severity severity = Severity::kNote;
  std::string what;
  std::string what_to_do;

  bool operator==(const Finding&) const = default;
};

}  // namespace kente
