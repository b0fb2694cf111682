#include "csrc/base/errors.h"
#include "csrc/nn/ops/gpu_ops.h"

namespace kente {

std::unique_ptr<Ops> make_gpu_ops(int gpu, Device&, Stream&) {
  throw InternalError("GPU " + std::to_string(gpu) + " in a build without CUDA");
}

}  // namespace kente
