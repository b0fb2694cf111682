#include "csrc/nn/ops/cross_entropy.h"

#include <algorithm>
#include <limits>

#include "csrc/nn/ops/vector.h"

namespace kente {
namespace {

template <typename Real>
KENTE_KERNEL Real row_maximum(const Real* row, int64_t columns) {
  Vec<Real> largest = splat(-std::numeric_limits<Real>::infinity());
  int64_t i = 0;
  for (; i + kLanes<Real> <= columns; i += kLanes<Real>) {
    const Vec<Real> v = load(row + i, kLanes<Real>);
    largest = v > largest ? v : largest;
  }
  Real result = max_lanes<Real>(largest);
  for (; i < columns; ++i) result = std::max(result, row[i]);
  return result;
}

/// row becomes e^(row - largest); returns the sum in double. Sixteen vectors at a time are summed
/// in the row's own precision.
template <typename Real>
KENTE_KERNEL double exponentiate(Real* row, int64_t columns, Real largest) {
  double total = 0;
  for (int64_t block = 0; block < columns; block += 16 * kLanes<Real>) {
    const int64_t end = std::min(columns, block + 16 * kLanes<Real>);
    Vec<Real> sum = {};
    for (int64_t i = block; i < end; i += kLanes<Real>) {
      const int64_t n = std::min(kLanes<Real>, end - i);
      store(row + i, vec_exp(load(row + i, n) - largest), n);
      sum += load(row + i, n);  // 0 beyond the row
    }
    total += static_cast<double>(sum_lanes<Real>(sum));
  }
  return total;
}

template <typename Real>
KENTE_KERNEL void scale_row(Real* row, int64_t columns, Real factor) {
  for (int64_t i = 0; i < columns; i += kLanes<Real>) {
    const int64_t n = std::min(kLanes<Real>, columns - i);
    store(row + i, load(row + i, n) * factor, n);
  }
}

template <typename T>
KENTE_KERNEL void round_values(const float* from, T* to, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes<float>) {
    const int64_t n = std::min(kLanes<float>, count - i);
    store(to + i, load(from + i, n), n);
  }
}

/// What is written lies below what is still to be read. Through copies: two types share this
/// memory.
template <typename T>
void round_bytes_in_place(char* bytes, int64_t count) {
  constexpr int64_t kChunk = 1024;
  float chunk[kChunk];
  T rounded[kChunk];
  for (int64_t i = 0; i < count; i += kChunk) {
    const auto n = static_cast<size_t>(std::min(kChunk, count - i));
    std::memcpy(chunk, bytes + i * 4, n * 4);
    round_values<T>(chunk, rounded, static_cast<int64_t>(n));
    std::memcpy(bytes + i * 2, rounded, n * 2);
  }
}

}  // namespace

std::vector<double> cross_entropy(const at::Tensor& logits, const CrossEntropyTargets& targets,
                                  std::optional<double> grad_scale) {
  const int64_t rows = logits.size(0);
  const int64_t columns = logits.size(1);
  std::vector<double> nats(static_cast<size_t>(rows));
  with_type(logits.scalar_type(), [&]<typename T>(T) {
    using Real = RealOf<T>;
    Real* data = logits.mutable_data_ptr<Real>();
    for (int64_t r = 0; r < rows; ++r) {
      Real* row = data + r * columns;
      if (targets.mask[r] == 0) {
        if (grad_scale) std::fill_n(row, columns, Real{0});
        continue;
      }
      const int32_t target = targets.targets[r];
      KENTE_CHECK(target >= 0 && target < columns,
                  "target " + std::to_string(target) + " of " + std::to_string(columns));
      const double target_logit = static_cast<double>(row[target]);
      const Real largest = row_maximum<Real>(row, columns);
      const double sum = exponentiate<Real>(row, columns, largest);
      nats[static_cast<size_t>(r)] = std::log(sum) + (static_cast<double>(largest) - target_logit);
      if (!grad_scale) continue;
      scale_row<Real>(row, columns, static_cast<Real>(*grad_scale / sum));
      row[target] -= static_cast<Real>(*grad_scale);
    }
  });
  return nats;
}

at::Tensor round_in_place(const at::Tensor& values, at::ScalarType type) {
  auto* bytes = static_cast<char*>(values.mutable_data_ptr());
  const int64_t count = values.numel();
  if (type == at::kHalf) {
    round_bytes_in_place<c10::Half>(bytes, count);
  } else {
    round_bytes_in_place<c10::BFloat16>(bytes, count);
  }
  return values.view(-1).view(type).narrow(0, 0, count).view(values.sizes());
}

}  // namespace kente
