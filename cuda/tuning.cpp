#include <array>

#include "cuda/queue.h"

namespace kente::cuda {
namespace {

struct Generation {
  int compute_capability;
  Tuning tuning;
};

// Blocks: the streaming multiprocessors of the generation's largest chip, two blocks of 512 threads
// each; nothing finer was measured, for want of GPUs. Shared memory: CUDA C++ Programming Guide
// 13.0, table "Technical Specifications per Compute Capability".
constexpr std::array<Generation, 7> kGenerations = {{
    {75, {.row_blocks = 144, .shared_bytes = 64 << 10}},
    {80, {.row_blocks = 216, .shared_bytes = 163 << 10}},
    {86, {.row_blocks = 168, .shared_bytes = 99 << 10}},
    {89, {.row_blocks = 288, .shared_bytes = 99 << 10}},
    {90, {.row_blocks = 264, .shared_bytes = 227 << 10}},
    {100, {.row_blocks = 296, .shared_bytes = 227 << 10}},
    {120, {.row_blocks = 376, .shared_bytes = 99 << 10}},
}};

}  // namespace

const Tuning& tuning_of(int compute_capability) {
  const Tuning* newest = &kGenerations.front().tuning;
  for (const Generation& generation : kGenerations)
    if (generation.compute_capability <= compute_capability) newest = &generation.tuning;
  return *newest;
}

}  // namespace kente::cuda
