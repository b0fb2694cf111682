#pragma once

#include <optional>
#include <string>
#include <vector>

namespace kente {

/// The processor packages' energy counters (RAPL), where this process may read them.
class EnergyCounter {
 public:
  /// powercap: "/sys/class/powercap", or a test's directory.
  explicit EnergyCounter(const std::string& powercap);

  /// Joules of all packages since the last call or the start; empty where they cannot be read. A
  /// counter that ran over in between is counted right once.
  std::optional<double> joules();

 private:
  struct Package {
    std::string path;
    double range = 0;  // microjoules after which it starts again
    double last = 0;
  };
  std::vector<Package> packages_;
};

}  // namespace kente
