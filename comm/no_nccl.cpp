#include "comm/nccl.h"
#include "csrc/base/errors.h"

namespace kente {

bool has_nccl() { return false; }

DeviceCommunicators make_nccl(Communicator&, Device&, Stream&, const Deadline&) {
  throw InternalError("NCCL in a build without CUDA");
}

}  // namespace kente
