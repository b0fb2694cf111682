#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace kente::cuda {

/// What suits a GPU's generation, for kernels whose blocks take several rows each. Sums over blocks
/// depend on row_blocks, so bits do too: it belongs to the generation, not to one machine.
struct Tuning {
  int row_blocks = 264;              // of 512 threads, together in flight
  int64_t shared_bytes = 227 << 10;  // that a block may have
};

/// For a compute capability as 10 major + minor, such as 90. One that is not known gets what the
/// next older one has.
const Tuning& tuning_of(int compute_capability);

/// Where work goes: a stream, and what suits its GPU. Every launch function of this folder checks
/// its arguments first and, where it refuses, returns cudaErrorInvalidValue and has touched
/// nothing; a launch that the GPU itself refuses is returned as CUDA names it. Nothing waits.
struct Queue {
  cudaStream_t stream = nullptr;
  Tuning tuning = {};
};

}  // namespace kente::cuda
