#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>

#include <algorithm>

#include "csrc/base/clock.h"
#include "csrc/config/model_layout.h"
#include "csrc/train/environment.h"
#include "csrc/train/tensor_view.h"

namespace kente {
namespace {

constexpr int64_t kSide = 512;

}  // namespace

double model_flops_per_token(const Recipe& recipe) {
  const ModelConfig& model = recipe.model;
  // A head of its own and the tied embedding cost the same GEMM; untied, the lookup table is not
  // multiplied.
  double multiplied = static_cast<double>(model.vocab_size * model.hidden_size);
  for (const ParamGroup& group : model_layout(model))
    for (const ParamSpec& spec : group.params)
      if (spec.shape.size() == 2 && spec.name.starts_with("layers."))
        multiplied += static_cast<double>(spec.count);
  return 6 * multiplied + 6.0 * static_cast<double>(model.num_hidden_layers * model.hidden_size *
                                                    recipe.sequence_length);
}

double gemm_flops_per_second(DType dtype, double seconds) {
  const at::Tensor a = at::ones({kSide, kSide}, scalar_type(dtype));
  at::Tensor c = at::ones({kSide, kSide}, scalar_type(dtype));
  at::mm_out(c, a, a);
  const int64_t begin = now_ns();
  int64_t runs = 0;
  do {
    at::mm_out(c, a, a);
    ++runs;
  } while (seconds_since(begin) < seconds);
  return 2.0 * kSide * kSide * kSide * static_cast<double>(runs) / seconds_since(begin);
}

double measure_ceiling(Communicator& world, DType dtype, double seconds, const Deadline& deadline) {
  world.barrier(deadline);
  double rate = gemm_flops_per_second(dtype, seconds);
  world.all_reduce({.data = &rate, .count = 1, .dtype = DType::kF64}, ReduceOp::kSum)
      ->wait(deadline);
  return rate;
}

}  // namespace kente
