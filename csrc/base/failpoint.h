#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace kente {

/// Points at which tests end, freeze or fail a process. Nothing happens there unless CMake chose
/// failpoint.cpp (KENTE_FAULTS, preset faults).
inline constexpr auto kFailpoints = std::to_array<std::string_view>({
    // What ProgressBoard::set() is told, in the order of Phase, from kData on.
    "phase.data",      "phase.forward",  "phase.backward",
    "phase.message",   "phase.reduce",   "phase.step",
    "phase.gather",    "phase.snapshot", "phase.validate",
    "phase.save",      "phase.end",
    "optimizer.group",  // between two groups of parameters
    "snapshot.copy",    // between two tensors
    "snapshot.seal",    // before a snapshot can be seen
    "storage.create",
    "storage.write",  // after half of the bytes
    "storage.sync",    "storage.rename", "storage.sync_directory",
    "storage.remove",  "comm.send",      "comm.receive",
    "comm.collective", "comm.wait",
});

/// The number of a failpoint; a name that is not listed does not compile.
consteval size_t failpoint_number(std::string_view name) {
  for (size_t i = 0; i < kFailpoints.size(); ++i)
    if (kFailpoints[i] == name) return i;
  throw "no such failpoint";
}

/// Who this process is, and where it notes what it reaches.
struct FailpointSetting {
  /// "NAME=ACTION@HIT[:rank=R][:incarnation=I]", separated by commas. At that hit, counted from 1,
  /// the process is killed (kill), stopped (stop) or waits for ever (hang), or storage fails
  /// (enospc, eio). Throws UsageError for anything else.
  std::string failpoints;
  /// File that gets a line "MILLISECONDS RANK INCARNATION NAME ACTION", ACTION "reached" the first
  /// time, of every failpoint that this process reaches; empty: none.
  std::string log;
  int rank = 0;
  int64_t incarnation = 0;
};

void arm_failpoints(const FailpointSetting& setting);
/// Thread-safe.
void reach_failpoint(size_t number);

}  // namespace kente

#define KENTE_FAILPOINT(name) ::kente::reach_failpoint(::kente::failpoint_number(name))
