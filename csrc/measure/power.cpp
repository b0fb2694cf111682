#include "csrc/measure/power.h"

#include <filesystem>
#include <fstream>
#include <system_error>

namespace kente {
namespace {

std::optional<double> number_in(const std::string& path) {
  std::ifstream file(path);
  double value = 0;
  if (!(file >> value)) return std::nullopt;
  return value;
}

}  // namespace

EnergyCounter::EnergyCounter(const std::string& powercap) {
  std::error_code none;
  for (const auto& zone : std::filesystem::directory_iterator(powercap, none)) {
    const std::string path = zone.path().string();
    std::ifstream name_file(path + "/name");
    std::string name;
    // Zones inside a package (core, dram) are part of it or counted twice.
    if (!(name_file >> name) || !name.starts_with("package")) continue;
    const std::optional<double> energy = number_in(path + "/energy_uj");
    if (energy)
      packages_.push_back({.path = path + "/energy_uj",
                           .range = number_in(path + "/max_energy_range_uj").value_or(0),
                           .last = *energy});
  }
}

std::optional<double> EnergyCounter::joules() {
  if (packages_.empty()) return std::nullopt;
  double used = 0;
  for (Package& package : packages_) {
    const std::optional<double> now = number_in(package.path);
    if (!now) return std::nullopt;
    used += *now - package.last + (*now < package.last ? package.range : 0);
    package.last = *now;
  }
  return used * 1e-6;
}

}  // namespace kente
