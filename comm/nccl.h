#pragma once

#include "comm/pumped.h"
#include "csrc/base/clock.h"
#include "csrc/device/device.h"

namespace kente {

/// Whether this program has NCCL.
bool has_nccl();

/// Communicators of ranks that have a GPU each, nobody else's: what is the devices' travels by
/// NCCL, started by whoever needs it first: one communicator and one stream for every group, and
/// for every pair of neighbours and direction. inner tells who starts what, and carries the host's.
/// Collectives of all groups start in the order of the calls, which must be the same on all ranks;
/// messages start in the order in which they were sent, and meet the receive of their tag.
///
/// A wait whose deadline passes, a peer that NCCL misses or an error of NCCL's throws PeerError
/// and ends what NCCL has under way, so that the device is free again; the process must end.
/// Throws UsageError when ranks have another NCCL or other NCCL_* settings: they would wait for
/// each other for ever. A collective; all must outlive them.
DeviceCommunicators make_nccl(Communicator& inner, Device& device, Stream& compute,
                              const Deadline& deadline);

}  // namespace kente
