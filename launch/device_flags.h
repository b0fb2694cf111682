#pragma once

#include <string>

#include "csrc/train/rank_device.h"

namespace kente {

class Command;

/// --device: "auto", "cpu" or "gpu"; --transport: "auto" or "host".
struct DeviceFlags {
  std::string device = "auto", transport = "auto";
};

void add_device(Command& app, DeviceFlags& flags);
DeviceChoices choices_of(const DeviceFlags& flags, double timeout_seconds);

}  // namespace kente
