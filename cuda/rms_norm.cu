#include "cuda/norm_backward.cuh"

namespace kente::cuda {

cudaError_t rms_norm(const NormForward& norm, const Queue& queue) {
  return norm_forward<Norm::kRms>(norm, queue);
}

cudaError_t rms_norm_backward(const NormBackward& norm, const Queue& queue) {
  return norm_backward<Norm::kRms>(norm, queue);
}

}  // namespace kente::cuda
