#pragma once

#include <cstdint>
#include <string>

#include "csrc/config/cluster.h"

namespace kente {

/// Devices that are not there yet, joined over a link one can name.
struct WhatIf {
  std::string profile;  // path
  std::string device;   // id in that profile
  int64_t count = 1;
  double latency_seconds = 0;
  double bytes_per_second = 0;
};

/// "PROFILE:DEVICE_ID[:COUNT],latency=SECONDS,bandwidth=BYTES_PER_SECOND"; the last colons count,
/// so a path may hold some. Throws UsageError.
WhatIf parse_what_if(const std::string& text);

/// The cluster with count devices like measured's `device`, on a node of their own, linked to all
/// that are there as what_if says and among each other as they were measured (else the same). Their
/// id is the device's, with a number where that is taken. Throws UsageError when measured has no
/// such device.
ClusterProfile add_devices(const ClusterProfile& cluster, const ClusterProfile& measured,
                           const WhatIf& what_if);

}  // namespace kente
