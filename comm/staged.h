#pragma once

#include <memory>

#include "comm/communicator.h"
#include "csrc/device/device.h"

namespace kente {

/// Communicators of a rank whose tensors lie in a GPU's memory, over one for the host's: what is
/// the device's travels through pinned memory, so that GPU and CPU ranks, or two ranks of one GPU,
/// can talk. One thread.
struct StagedCommunicators {
  /// For buffers in the device's memory. One leaves behind the work that is queued in compute when
  /// the operation is called, on a stream of its own, while compute goes on. What arrives is copied
  /// in compute: work queued there after wait() returned sees it, and wait() does not wait for that
  /// copy.
  std::unique_ptr<Communicator> tensors;
  /// For buffers of the host: inner, but that who waits here lets the other's operations go on. To
  /// be used instead of inner, since a peer may wait for these before it answers.
  std::unique_ptr<Communicator> host;
};

/// All must outlive them.
StagedCommunicators make_staged(Communicator& inner, Device& device, Stream& compute);

}  // namespace kente
