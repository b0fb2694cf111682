#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/config/model_layout.h"
#include "csrc/train/environment.h"
#include "csrc/train/tensor_view.h"

namespace kente {
namespace {

constexpr int64_t kSide = 512;
constexpr size_t kBytes = size_t{48} << 20;

double flops_of(int64_t side, int64_t runs, double seconds) {
  return 2.0 * static_cast<double>(side * side * side * runs) / seconds;
}

double on_this_thread(DType dtype, double seconds) {
  const at::Tensor a = at::ones({kSide, kSide}, scalar_type(dtype));
  at::Tensor c = at::ones({kSide, kSide}, scalar_type(dtype));
  at::mm_out(c, a, a);
  const int64_t begin = now_ns();
  int64_t runs = 0;
  do {
    at::mm_out(c, a, a);
    ++runs;
  } while (seconds_since(begin) < seconds);
  return flops_of(kSide, runs, seconds_since(begin));
}

at::Tensor made_up_matrix(Ops& ops, int64_t side, DType dtype) {
  constexpr int64_t kRows = 64;  // the same again and again
  at::Tensor values = at::empty({kRows, side}, at::kFloat);
  float* const at = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) at[i] = static_cast<float>(i % 251) / 125 - 1;
  const at::Tensor rows = ops.from_host(values);
  at::Tensor matrix = ops.empty({side, side}, scalar_type(dtype));
  for (int64_t row = 0; row < side; row += kRows) ops.cast(rows, matrix.narrow(0, row, kRows));
  return matrix;
}

/// What so many products of [side, side] take.
double seconds_on(Ops& ops, const at::Tensor& a, int64_t runs) {
  return seconds_of(*ops.work_clock(), [&] {
    for (int64_t run = 0; run < runs; ++run) ops.linear(a, a, {}, {});
  });
}

/// Of matrices large enough to fill it, which are not zero: a GPU's clock depends on its power.
double on_device(Ops& ops, DType dtype, double seconds) {
  constexpr int64_t kSmallest = 256, kLargest = 8192;
  constexpr double kLongEnough = 1e-3;
  for (int64_t side = kSmallest;; side *= 2) {
    const at::Tensor a = made_up_matrix(ops, side, dtype);
    seconds_on(ops, a, 1);  // the library chooses and loads its kernel
    const double once = seconds_on(ops, a, 1);
    if (once < kLongEnough && side < kLargest) continue;
    const auto runs = std::max<int64_t>(1, std::llround(seconds / std::max(once, 1e-9)));
    return flops_of(side, runs, seconds_on(ops, a, runs));
  }
}

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

double gemm_flops_per_second(Ops& ops, DType dtype, double seconds) {
  return ops.on_host() ? on_this_thread(dtype, seconds) : on_device(ops, dtype, seconds);
}

double copy_bytes_per_second(double seconds) {
  std::vector<char> from(kBytes, 1);
  std::vector<char> to(kBytes);
  int64_t copies = 0;
  const int64_t begin = now_ns();
  double took = 0;
  do {
    std::memcpy(to.data(), from.data(), kBytes);
    KENTE_CHECK(to[kBytes / 2] == 1, "a copy that copies nothing");
    std::swap(from, to);
    ++copies;
    took = static_cast<double>(now_ns() - begin) * 1e-9;
  } while (took < seconds);
  return 2.0 * kBytes * static_cast<double>(copies) / took;
}

double measure_ceiling(Communicator& world, Ops& ops, DType dtype, double seconds,
                       const Deadline& deadline) {
  world.barrier(deadline);
  double rate = gemm_flops_per_second(ops, dtype, seconds);
  world.all_reduce({.data = &rate, .count = 1, .dtype = DType::kF64}, ReduceOp::kSum)
      ->wait(deadline);
  return rate;
}

}  // namespace kente
