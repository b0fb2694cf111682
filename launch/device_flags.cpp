#include "launch/device_flags.h"

#include <algorithm>
#include <vector>

#include "csrc/base/errors.h"
#include "launch/command_line.h"

namespace kente {
namespace {

const std::vector<std::string> kDevices = {"auto", "cpu", "gpu"}, kTransports = {"auto", "host"};

size_t place_of(const std::string& name, const std::vector<std::string>& names) {
  const auto at = std::ranges::find(names, name);
  KENTE_CHECK(at != names.end(), name);
  return static_cast<size_t>(at - names.begin());
}

}  // namespace

void add_device(Command& app, DeviceFlags& flags) {
  app.option("--device", flags.device,
             "what a rank computes on; auto: a GPU where one is left for it, else the CPU")
      .show_default()
      .one_of(kDevices);
  app.option("--transport", flags.transport,
             "how tensors travel between GPUs; auto: by NCCL where every rank has one of its own, "
             "else through the host")
      .show_default()
      .one_of(kTransports);
}

DeviceChoices choices_of(const DeviceFlags& flags, double timeout_seconds) {
  return {.device = static_cast<DeviceChoice>(place_of(flags.device, kDevices)),
          .transport = static_cast<TransportChoice>(place_of(flags.transport, kTransports)),
          .timeout_seconds = timeout_seconds};
}

}  // namespace kente
