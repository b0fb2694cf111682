#include <cmath>

#include "csrc/nn/ops/adamw.h"

namespace kente {
namespace {

// Elementwise, without contraction: the same bits on every instruction set.
[[gnu::always_inline]] inline void update_body(float* __restrict p, float* __restrict m,
                                               float* __restrict v, const float* __restrict g,
                                               int64_t count, float keep, AdamWFactors f) {
  for (int64_t i = 0; i < count; ++i) {
    const float gradient = g[i] * f.gradient;
    m[i] = f.beta1 * m[i] + (1.0f - f.beta1) * gradient;
    v[i] = f.beta2 * v[i] + (1.0f - f.beta2) * (gradient * gradient);
    const float denominator = std::sqrt(v[i]) * f.root_scale + f.epsilon;
    p[i] = p[i] * keep - f.step_size * (m[i] / denominator);
  }
}

#if defined(__x86_64__)
[[gnu::target("avx512f,avx512vl,prefer-vector-width=512")]] void update_avx512(
    float* p, float* m, float* v, const float* g, int64_t count, float keep, AdamWFactors f) {
  update_body(p, m, v, g, count, keep, f);
}
#endif

}  // namespace

void adamw(const AdamWPiece& piece, const AdamWFactors& factors) {
  const auto keep = static_cast<float>(1 - piece.decay);
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"))
    return update_avx512(piece.master, piece.exp_avg, piece.exp_avg_sq, piece.gradient, piece.count,
                         keep, factors);
#endif
  update_body(piece.master, piece.exp_avg, piece.exp_avg_sq, piece.gradient, piece.count, keep,
              factors);
}

}  // namespace kente
