#pragma once

#include "comm/pumped.h"
#include "csrc/device/device.h"

namespace kente {

/// Communicators of a rank whose tensors lie in a GPU's memory, over one for the host's: what is
/// the device's travels through pinned memory, so that GPU and CPU ranks, or two ranks of one GPU,
/// can talk. Leaving the device is the work of a stream of its own, while compute goes on; what
/// arrives is copied in compute, and wait() does not wait for that copy. All must outlive them.
DeviceCommunicators make_staged(Communicator& inner, Device& device, Stream& compute);

}  // namespace kente
