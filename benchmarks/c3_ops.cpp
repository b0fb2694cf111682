// C3: the memory-bound operations of a step on one core, each beside ATen's for the same and beside
// a triad, a = b + s c, of the same round: how near to the bandwidth each is, when only the bytes
// count that must move. f32, operands far larger than any cache. Prints the table of
// benchmarks/results/c3_ops.md.
//
//   build/cpu/bin/c3_ops
#include <ATen/TensorOperators.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_rms_norm.h>
#include <ATen/ops/_log_softmax.h>
#include <ATen/ops/_log_softmax_backward_data.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>
#include <ATen/ops/nll_loss_backward.h>
#include <ATen/ops/nll_loss_forward.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>
#include <torch/version.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "csrc/base/clock.h"
#include "csrc/measure/statistics.h"
#include "csrc/nn/ops/activation.h"
#include "csrc/nn/ops/adamw.h"
#include "csrc/nn/ops/cross_entropy.h"
#include "csrc/nn/ops/fixed_point.h"
#include "csrc/nn/ops/norm.h"
#include "csrc/nn/ops/rope.h"
#include "csrc/train/prepare_process.h"

namespace kente {
namespace {

constexpr int kRounds = 9;
constexpr int64_t kRows = 16384, kWidth = 1024;               // 64 MiB
constexpr int64_t kHeadDim = 64, kHeads = kWidth / kHeadDim;  // RoPE
constexpr int64_t kFeatures = 2816;                           // SwiGLU
constexpr int64_t kTokens = 2048, kVocabulary = 50257;
constexpr int64_t kParameters = kRows * kWidth;

/// One operation of ours and of ATen's.
struct Case {
  std::string name;
  std::string bytes;  // that must move, in words
  double must;        // bytes that must move
  std::function<void()> ours;
  std::function<void()> theirs;
};

at::Tensor random_matrix(int64_t rows, int64_t columns) { return at::randn({rows, columns}); }

double as_bytes(int64_t elements) { return 4.0 * static_cast<double>(elements); }

void add_norms(std::vector<Case>& cases) {
  const at::Tensor x = random_matrix(kRows, kWidth), dy = random_matrix(kRows, kWidth);
  const at::Tensor residual = random_matrix(kRows, kWidth);
  const at::Tensor w = at::full({kWidth}, 1.0), b = at::zeros({kWidth});
  const at::Tensor grad_w = at::zeros({kWidth}), grad_b = at::zeros({kWidth});
  const at::Tensor layer_stats = layer_norm(x, w, b, 1e-5).stats;
  const auto [y, mean, rstd] = at::native_layer_norm(x, {kWidth}, w, b, 1e-5);
  cases.push_back({"layer norm", "x, y", 2 * as_bytes(x.numel()),
                   [=] { layer_norm(x, w, b, 1e-5); },
                   [=] { at::native_layer_norm(x, {kWidth}, w, b, 1e-5); }});
  cases.push_back({"layer norm's gradient + residual's", "x, dy, residual's, dx",
                   4 * as_bytes(x.numel()),
                   [=] { layer_norm_backward(x, layer_stats, w, residual, dy, grad_w, grad_b); },
                   [=, mean = mean, rstd = rstd] {
                     std::get<0>(at::native_layer_norm_backward(dy, x, {kWidth}, mean, rstd, w, b,
                                                                {true, true, true}))
                         .add_(residual);
                   }});
  const at::Tensor rms_stats = rms_norm(x, w, 1e-5).stats;
  const at::Tensor rms_rstd = std::get<1>(at::_fused_rms_norm(x, {kWidth}, w, 1e-5));
  cases.push_back({"RMS norm", "x, y", 2 * as_bytes(x.numel()), [=] { rms_norm(x, w, 1e-5); },
                   [=] { at::_fused_rms_norm(x, {kWidth}, w, 1e-5); }});
  cases.push_back({"RMS norm's gradient + residual's", "x, dy, residual's, dx",
                   4 * as_bytes(x.numel()),
                   [=] { rms_norm_backward(x, rms_stats, w, residual, dy, grad_w); },
                   [=] {
                     const at::Tensor xhat = x * rms_rstd, g = dy * w;
                     at::sum(dy * xhat, {0});
                     (g - xhat * at::mean(g * xhat, {1}, true)).mul_(rms_rstd).add_(residual);
                   }});
}

void add_rope(std::vector<Case>& cases) {
  const at::Tensor x = random_matrix(kRows, kWidth);
  const RopeTable table = make_rope_table(2048, kHeadDim, 10000, at::kFloat);
  std::vector<int32_t> positions(kRows);
  for (int64_t row = 0; row < kRows; ++row)
    positions[static_cast<size_t>(row)] = static_cast<int32_t>(row % 2048);
  const at::Tensor heads = x.view({kRows / 2048, 2048, kHeads, kHeadDim});
  const at::Tensor cos_sin = table.cos_sin.view({1, 2048, 1, kHeadDim});
  const int64_t half = kHeadDim / 2;
  cases.push_back({"RoPE", "x twice", 2 * as_bytes(x.numel()),
                   [=] { rope(x, kHeads, positions.data(), table, RopeDirection::kForward); },
                   [=] {
                     const at::Tensor low = heads.narrow(3, 0, half);
                     const at::Tensor high = heads.narrow(3, half, half);
                     const at::Tensor c = cos_sin.narrow(3, 0, half);
                     const at::Tensor s = cos_sin.narrow(3, half, half);
                     at::cat(std::vector<at::Tensor>{low * c - high * s, high * c + low * s}, 3);
                   }});
}

void add_activations(std::vector<Case>& cases) {
  const int64_t rows = kRows / 2;
  const at::Tensor gate_up = random_matrix(rows, 2 * kFeatures),
                   dy = random_matrix(rows, kFeatures);
  const at::Tensor gate = gate_up.narrow(1, 0, kFeatures);
  const at::Tensor up = gate_up.narrow(1, kFeatures, kFeatures);
  const double bytes = as_bytes(dy.numel());
  cases.push_back(
      {"SwiGLU", "gate, up, y", 3 * bytes, [=] { swiglu(gate_up); }, [=] { at::silu(gate) * up; }});
  const at::Tensor spent = gate_up.clone();
  cases.push_back({"SwiGLU's gradient", "gate and up twice, dy", 5 * bytes,
                   [=] { swiglu_backward(spent, dy); },
                   [=] {
                     const at::Tensor d_up = dy * at::silu(gate);
                     const at::Tensor d_gate = at::silu_backward(dy * up, gate);
                     at::cat(std::vector<at::Tensor>{d_gate, d_up}, 1);
                   }});
  const at::Tensor x = random_matrix(rows, kFeatures), spent_x = x.clone();
  cases.push_back(
      {"GELU", "x, y", 2 * bytes, [=] { kente::gelu(x); }, [=] { at::gelu(x, "tanh"); }});
  cases.push_back({"GELU's gradient", "x twice, dy", 3 * bytes,
                   [=] { kente::gelu_backward(spent_x, dy); },
                   [=] { at::gelu_backward(dy, x, "tanh"); }});
}

void add_cross_entropy(std::vector<Case>& cases) {
  const at::Tensor logits = random_matrix(kTokens, kVocabulary), spent = logits.clone();
  std::vector<int32_t> targets(kTokens, 7), mask(kTokens, 1);
  const at::Tensor wanted = at::full({kTokens}, 7, at::TensorOptions().dtype(at::kLong));
  const at::Tensor one = at::full({}, 1.0);
  cases.push_back({"cross-entropy and its gradient", "logits twice", 2 * as_bytes(logits.numel()),
                   [=] {
                     cross_entropy(spent, {targets.data(), mask.data()}, 1.0);
                   },
                   [=] {
                     const at::Tensor logs = at::_log_softmax(logits, 1, false);
                     const auto [loss, weight] =
                         at::nll_loss_forward(logs, wanted, {}, /*reduction=mean*/ 1, -100);
                     const at::Tensor d =
                         at::nll_loss_backward(one, logs, wanted, {}, 1, -100, weight);
                     at::_log_softmax_backward_data(d, logs, 1, at::kFloat);
                   }});
}

void add_optimizer(std::vector<Case>& cases) {
  const auto state = [] { return random_matrix(1, kParameters).view({kParameters}).abs_(); };
  const at::Tensor gradient = state(), master = state(), m = state(), v = state();
  const AdamWFactors factors{.gradient = 1,
                             .beta1 = 0.9f,
                             .beta2 = 0.95f,
                             .epsilon = 1e-8f,
                             .step_size = 1e-4f,
                             .root_scale = 1};
  const at::Tensor step = at::full({}, 1.0);
  cases.push_back({"AdamW", "gradient, three states twice", 7 * as_bytes(kParameters),
                   [=] {
                     adamw({.gradient = gradient.const_data_ptr<float>(),
                            .master = master.mutable_data_ptr<float>(),
                            .exp_avg = m.mutable_data_ptr<float>(),
                            .exp_avg_sq = v.mutable_data_ptr<float>(),
                            .count = kParameters,
                            .decay = 1e-5},
                           factors);
                   },
                   [=] {
                     at::_fused_adamw_({master}, {gradient}, {m}, {v}, {}, {step}, 1e-4, 0.9, 0.95,
                                       0.1, 1e-8, /*amsgrad=*/false, /*maximize=*/false);
                   }});
  cases.push_back({"global norm", "gradient", as_bytes(kParameters),
                   [=] {
                     FixedNorm norm;
                     add_squares(gradient.const_data_ptr<float>(), kParameters, norm);
                   },
                   [=] { at::linalg_vector_norm(gradient, 2); }});
}

double seconds_of(const std::function<void()>& work) {
  const double began = now_seconds();
  work();
  return now_seconds() - began;
}

struct Triad {
  at::Tensor a = random_matrix(1, kParameters), b = a.clone(), c = a.clone();
  void operator()() const {
    float* to = a.mutable_data_ptr<float>();
    const float* left = b.const_data_ptr<float>();
    const float* right = c.const_data_ptr<float>();
    for (int64_t i = 0; i < kParameters; ++i) to[i] = left[i] + 3.0f * right[i];
  }
  double bytes() const { return 3 * as_bytes(kParameters); }
};

std::string spread_of(const std::vector<double>& values, int digits) {
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  return fmt::format("{:.{}f} ({:.{}f} .. {:.{}f})", median(values), digits, *least, digits, *most,
                     digits);
}

void print_row(const Case& c, const Triad& triad) {
  const std::function<void()> triad_once = [&] { triad(); };
  for (const auto& work : {c.ours, c.theirs, triad_once}) work();
  std::vector<double> rates, of_triad, over_aten;
  for (int round = 0; round < kRounds; ++round) {
    const double limit = triad.bytes() / seconds_of(triad_once);
    const double ours = seconds_of(c.ours), theirs = seconds_of(c.theirs);
    rates.push_back(c.must / ours / 1e9);
    of_triad.push_back(100 * c.must / ours / limit);
    over_aten.push_back(theirs / ours);
  }
  fmt::print("| {} | {} | {:.0f} | {:.1f} | {} | {} |\n", c.name, c.bytes, c.must / 1e6,
             median(rates), spread_of(of_triad, 0), spread_of(over_aten, 1));
  std::fflush(stdout);
}

void print_table() {
  std::vector<Case> cases;
  add_norms(cases);
  add_rope(cases);
  add_activations(cases);
  add_cross_entropy(cases);
  add_optimizer(cases);
  fmt::print(
      "# C3: memory-bound operations on one core\n\n`build/cpu/bin/c3_ops`, libtorch {}, {} "
      "rounds; "
      "medians, least and most. GB/s of the bytes that must move, each read or written once. Of "
      "the "
      "triad: over what a = b + s c reaches with its three tensors in the same round; it reads a, "
      "too, before it writes it, which in place costs nothing.\n\n",
      TORCH_VERSION, kRounds);
  fmt::print(
      "| operation, f32 | bytes that must move | MB | GB/s | of the triad, % | ATen over "
      "kente |\n|---|---|---|---|---|---|\n");
  const Triad triad;
  for (const Case& c : cases) print_row(c, triad);
}

}  // namespace
}  // namespace kente

int main() {
  kente::prepare_process();
  kente::print_table();
  return 0;
}
