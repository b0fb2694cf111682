#include "csrc/measure/gpu_power.h"

#include <dlfcn.h>

namespace kente {
namespace {

template <typename Function>
Function* find(void* library, const char* name) {
  return reinterpret_cast<Function*>(::dlsym(library, name));
}

}  // namespace

/// What of it is needed, with NVML's names and types. All return 0 for success.
struct GpuEnergy::Nvml {
  using Init = int();
  using ByBusId = int(const char*, void**);
  using Energy = int(void*, unsigned long long*);

  /// The device's counter; empty where there is none.
  std::optional<double> millijoules() const {
    unsigned long long counted = 0;
    if (energy(device, &counted) != 0) return std::nullopt;
    return static_cast<double>(counted);
  }
  ~Nvml() {
    if (started) end();
    if (library != nullptr) ::dlclose(library);
  }

  void* library = nullptr;
  Init* end = nullptr;
  Energy* energy = nullptr;
  void* device = nullptr;
  bool started = false;
};

GpuEnergy::GpuEnergy(const std::string& bus_id, const std::string& library) {
  auto nvml = std::make_unique<Nvml>();
  nvml->library = ::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (nvml->library == nullptr) return;
  auto* const init = find<Nvml::Init>(nvml->library, "nvmlInit_v2");
  auto* const by_bus_id = find<Nvml::ByBusId>(nvml->library, "nvmlDeviceGetHandleByPciBusId_v2");
  nvml->end = find<Nvml::Init>(nvml->library, "nvmlShutdown");
  nvml->energy = find<Nvml::Energy>(nvml->library, "nvmlDeviceGetTotalEnergyConsumption");
  if (!init || !by_bus_id || !nvml->end || !nvml->energy || init() != 0) return;
  nvml->started = true;
  if (by_bus_id(bus_id.c_str(), &nvml->device) != 0) return;
  const std::optional<double> now = nvml->millijoules();
  if (!now) return;
  last_ = *now;
  nvml_ = std::move(nvml);
}

GpuEnergy::~GpuEnergy() = default;

std::optional<double> GpuEnergy::joules() {
  if (!nvml_) return std::nullopt;
  const std::optional<double> now = nvml_->millijoules();
  if (!now) return std::nullopt;
  const double joules = 1e-3 * (*now - last_);
  last_ = *now;
  return joules;
}

}  // namespace kente
