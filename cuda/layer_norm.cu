#include "cuda/norm_backward.cuh"

namespace kente::cuda {

int64_t norm_backward_workspace(int64_t rows, int64_t width, const Tuning& tuning) {
  return 2 * norm_shape(rows, width, tuning).grid.x * width;
}

cudaError_t layer_norm(const NormForward& norm, const Queue& queue) {
  return norm_forward<Norm::kLayer>(norm, queue);
}

cudaError_t layer_norm_backward(const NormBackward& norm, const Queue& queue) {
  return norm_backward<Norm::kLayer>(norm, queue);
}

}  // namespace kente::cuda
