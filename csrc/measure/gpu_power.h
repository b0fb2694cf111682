#pragma once

#include <memory>
#include <optional>
#include <string>

namespace kente {

/// The energy counter of a GPU, where its driver's library (NVML) has one: Volta and later.
class GpuEnergy {
 public:
  /// bus_id: its PCI address. library: a path, or a name that the loader finds.
  explicit GpuEnergy(const std::string& bus_id, const std::string& library = "libnvidia-ml.so.1");
  ~GpuEnergy();

  /// Joules since the last call or the start; empty where they cannot be read.
  std::optional<double> joules();

 private:
  struct Nvml;
  std::unique_ptr<Nvml> nvml_;  // null: there is none
  double last_ = 0;             // millijoules
};

}  // namespace kente
