#include "csrc/plan/what_if.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "csrc/base/errors.h"

namespace kente {
namespace {

constexpr int64_t kMostDevices = 100000;

[[noreturn]] void refuse(const std::string& text, const std::string& what) {
  throw UsageError("--what-if " + text + ": " + what +
                   "; write PROFILE:DEVICE_ID[:COUNT],latency=0.001,bandwidth=1e8");
}

template <typename Number>
bool read(const std::string& text, Number& value) {
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stop == end;
}

std::string device_ids(const ClusterProfile& cluster) {
  std::string ids;
  for (const DeviceProfile& device : cluster.devices) ids += (ids.empty() ? "" : ", ") + device.id;
  return ids;
}

bool is_taken(const ClusterProfile& cluster, const std::string& id) {
  return std::any_of(cluster.devices.begin(), cluster.devices.end(),
                     [&](const DeviceProfile& device) { return device.id == id; });
}

}  // namespace

WhatIf parse_what_if(const std::string& text) {
  WhatIf parsed;
  std::string who = text;
  while (who.find(',') != std::string::npos) {
    const size_t comma = who.rfind(',');
    const std::string field = who.substr(comma + 1);
    who.resize(comma);
    const size_t equals = field.find('=');
    const std::string name = field.substr(0, equals);
    double value = 0;
    if (equals == std::string::npos || !read(field.substr(equals + 1), value) ||
        !std::isfinite(value) || value < 0)
      refuse(text, "\"" + field + "\" is not name=number");
    if (name == "latency") {
      parsed.latency_seconds = value;
    } else if (name == "bandwidth") {
      parsed.bytes_per_second = value;
    } else {
      refuse(text, "there is no \"" + name + "\"");
    }
  }
  if (parsed.bytes_per_second <= 0) refuse(text, "bandwidth is missing");
  size_t colon = who.rfind(':');
  if (colon != std::string::npos && read(who.substr(colon + 1), parsed.count)) {
    who.resize(colon);
    colon = who.rfind(':');
  }
  if (colon == std::string::npos || colon == 0 || colon + 1 == who.size())
    refuse(text, "no profile and device");
  if (parsed.count < 1 || parsed.count > kMostDevices)
    refuse(text, fmt::format("{} devices; allowed: 1 to {}", parsed.count, kMostDevices));
  parsed.profile = who.substr(0, colon);
  parsed.device = who.substr(colon + 1);
  return parsed;
}

ClusterProfile add_devices(const ClusterProfile& cluster, const ClusterProfile& measured,
                           const WhatIf& what_if) {
  const auto found =
      std::find_if(measured.devices.begin(), measured.devices.end(),
                   [&](const DeviceProfile& device) { return device.id == what_if.device; });
  if (found == measured.devices.end())
    throw UsageError(what_if.profile + ": there is no device \"" + what_if.device + "\"; it has " +
                     device_ids(measured));
  DeviceProfile added = *found;
  for (int i = 2; is_taken(cluster, added.id); ++i) added.id = fmt::format("{}-{}", found->id, i);
  added.count = what_if.count;
  added.per_node = 0;
  added.node = "what-if " + added.id;
  ClusterProfile grown = cluster;
  for (const DeviceProfile& device : cluster.devices)
    grown.links.push_back({.from = device.id,
                           .to = added.id,
                           .latency_seconds = what_if.latency_seconds,
                           .bytes_per_second = what_if.bytes_per_second});
  const auto device = static_cast<int>(found - measured.devices.begin());
  const LinkProfile* const own = find_link(measured, device, device, true);
  LinkProfile among = own ? *own
                          : LinkProfile{.from = "",
                                        .to = "",
                                        .latency_seconds = what_if.latency_seconds,
                                        .bytes_per_second = what_if.bytes_per_second};
  among.from = among.to = added.id;
  among.same_node = false;
  grown.links.push_back(among);
  grown.devices.push_back(std::move(added));
  return grown;
}

}  // namespace kente
