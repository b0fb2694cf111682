#include "csrc/nn/ops/attention.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "csrc/base/round_up.h"
#include "csrc/nn/ops/panel_product.h"
#include "csrc/nn/ops/transpose.h"

// Head by head, kQueries rows of scores at a time against all earlier keys: what lies in memory is
// one head's rows, in f32, padded to whole tiles, and the scores of these rows.

namespace kente {
namespace {

constexpr int64_t kQueries = 32;
/// Rows lie pages apart, where no processor looks ahead by itself.
constexpr int64_t kRowsAhead = 16;

/// One head of a segment, and how its buffers are padded.
struct HeadShape {
  int64_t rows;
  int64_t head_dim;
  int64_t padded_rows;  // a multiple of kQueries
  int64_t padded_dim;   // a multiple of kPanelColumns
  int64_t size() const { return padded_rows * padded_dim; }
};

template <typename Real>
HeadShape head_shape(const AttentionSegment& segment, int64_t head_dim) {
  static_assert(kQueries % kPanelColumns<Real> == 0 && kQueries % kPanelRows == 0);
  return {segment.rows, head_dim, round_up(segment.rows, kQueries),
          round_up(head_dim, kPanelColumns<Real>)};
}

/// Rows of one head where the model has them.
template <typename T>
struct HeadRows {
  T* data;
  int64_t stride;  // elements from one row to the next
  HeadRows from(int64_t row) const { return {data + row * stride, stride}; }
};

/// to [padded_rows, padded_dim] = from scale, in f32 (f64); 0 where there is nothing.
template <typename T>
KENTE_KERNEL void pack(const HeadRows<const T>& from, const HeadShape& shape, RealOf<T> scale,
                       RealOf<T>* to) {
  using Real = RealOf<T>;
  for (int64_t row = 0; row < shape.padded_rows; ++row, to += shape.padded_dim)
    for (int64_t i = 0; i < shape.padded_dim; i += kLanes<T>) {
      __builtin_prefetch(from.data + std::min(row + kRowsAhead, shape.rows - 1) * from.stride + i);
      const bool inside = row < shape.rows && i < shape.head_dim;
      const int64_t count = std::min(kLanes<T>, shape.head_dim - i);
      const Vec<Real> x = inside ? load(from.data + row * from.stride + i, count) : Vec<Real>{};
      store(to + i, x * scale, kLanes<Real>);
    }
}

/// to = x scales[row], or a scale for all of them where scales is one number.
template <typename T>
KENTE_KERNEL void unpack(const RealOf<T>* x, int64_t rows, const HeadShape& shape,
                         std::span<const RealOf<T>> scales, const HeadRows<T>& to) {
  for (int64_t row = 0; row < rows; ++row) {
    const RealOf<T> scale = scales[scales.size() == 1 ? 0 : static_cast<size_t>(row)];
    for (int64_t i = 0; i < shape.head_dim; i += kLanes<T>)
      store(to.data + row * to.stride + i,
            load(x + row * shape.padded_dim + i, kLanes<RealOf<T>>) * scale,
            std::min(kLanes<T>, shape.head_dim - i));
  }
}

/// Panels of the transpose of x [padded_rows, padded_dim]: padded_dim rows of kPanelColumns each.
KENTE_KERNEL void transpose(const float* x, const HeadShape& shape, float* to) {
  for (int64_t row = 0; row < shape.padded_rows; row += kTile)
    for (int64_t k = 0; k < shape.padded_dim; k += kTile) {
      U32x16 tile[kTile];
      for (int64_t i = 0; i < kTile; ++i)
        std::memcpy(&tile[i], x + (row + i) * shape.padded_dim + k, sizeof(tile[i]));
      transpose_tile(tile);
      constexpr int64_t kColumns = kPanelColumns<float>;
      float* out = to + (row / kColumns * shape.padded_dim + k) * kColumns + row % kColumns;
      for (int64_t i = 0; i < kTile; ++i)
        std::memcpy(out + i * kColumns, &tile[i], sizeof(tile[i]));
    }
}

void transpose(const double* x, const HeadShape& shape, double* to) {
  constexpr int64_t kColumns = kPanelColumns<double>;
  for (int64_t row = 0; row < shape.padded_rows; ++row)
    for (int64_t k = 0; k < shape.padded_dim; ++k)
      to[(row / kColumns * shape.padded_dim + k) * kColumns + row % kColumns] =
          x[row * shape.padded_dim + k];
}

/// deltas[row] = dot of the rows of a and b: that of the softmax's gradient with its input.
template <typename T>
KENTE_KERNEL void row_dots(const HeadRows<const T>& a, const HeadRows<const T>& b,
                           const HeadShape& shape, RealOf<T>* dots) {
  using Real = RealOf<T>;
  for (int64_t row = 0; row < shape.rows; ++row) {
    Vec<Real> sum = {};
    for (int64_t i = 0; i < shape.head_dim; i += kLanes<T>) {
      const int64_t count = std::min(kLanes<T>, shape.head_dim - i);
      sum += load(a.data + row * a.stride + i, count) * load(b.data + row * b.stride + i, count);
    }
    dots[row] = sum_lanes<Real>(sum);
  }
}

/// kQueries rows of scores, of queries first and after; columns of them are keys.
template <typename Real>
struct Scores {
  Real* data;
  int64_t stride;
  int64_t first;    // query of the first row
  int64_t queries;  // <= kQueries of them are real
  int64_t keys() const { return first + kQueries; }
  Real* row(int64_t i) const { return data + i * stride; }
  ProductBlock<Real> block() const { return {data, stride, kQueries, keys()}; }
};

/// Keys after the query never count.
template <typename Real>
KENTE_INLINE void hide_later_keys(const Scores<Real>& scores, int64_t i) {
  Real* row = scores.row(i);
  for (int64_t key = scores.first + i + 1; key < scores.keys(); ++key)
    row[key] = -std::numeric_limits<Real>::infinity();
}

/// Scores become e^(score - the row's largest); inverse_sums [queries], and the logarithm of the
/// sum of e^score, one a row of logsumexp.
template <typename Real>
KENTE_KERNEL void exponentiate(const Scores<Real>& scores, Real* inverse_sums,
                               const HeadRows<Real>& logsumexp) {
  for (int64_t i = 0; i < scores.queries; ++i) {
    hide_later_keys(scores, i);
    Real* row = scores.row(i);
    Vec<Real> largest = load(row, kLanes<Real>);
    for (int64_t key = 0; key < scores.keys(); key += kLanes<Real>) {
      const Vec<Real> x = load(row + key, kLanes<Real>);
      largest = x > largest ? x : largest;
    }
    const Real top = max_lanes<Real>(largest);
    Vec<Real> sum = {};
    for (int64_t key = 0; key < scores.keys(); key += kLanes<Real>) {
      const Vec<Real> e = vec_exp(load(row + key, kLanes<Real>) - top);
      sum += e;
      store(row + key, e, kLanes<Real>);
    }
    const Real total = sum_lanes<Real>(sum);
    inverse_sums[i] = Real{1} / total;
    logsumexp.data[i * logsumexp.stride] = top + std::log(total);
  }
}

/// Scores become probabilities p, and gradients of p those of scores, p (gradient - delta).
template <typename Real>
KENTE_KERNEL void differentiate(const Scores<Real>& scores, Real* gradients,
                                const HeadRows<const Real>& logsumexp, const Real* deltas) {
  for (int64_t i = 0; i < scores.queries; ++i) {
    hide_later_keys(scores, i);
    Real* row = scores.row(i);
    Real* gradient = gradients + i * scores.stride;
    const Real lse = logsumexp.data[i * logsumexp.stride];
    for (int64_t key = 0; key < scores.keys(); key += kLanes<Real>) {
      const Vec<Real> p = vec_exp(load(row + key, kLanes<Real>) - lse);
      store(row + key, p, kLanes<Real>);
      store(gradient + key, p * (load(gradient + key, kLanes<Real>) - deltas[i]), kLanes<Real>);
    }
  }
}

/// What lies in memory for one head, used again by the next.
template <typename Real>
class HeadBuffers {
 public:
  HeadBuffers(const HeadShape& shape, bool backward)
      : memory_(at::empty(
            {(backward ? 8 : 4) * shape.size() + (backward ? 2 : 1) * kQueries * shape.padded_rows +
             kQueries * shape.padded_dim + shape.padded_rows},
            at::CppTypeToScalarType<Real>::value)) {
    Real* next = memory_.mutable_data_ptr<Real>();
    const auto take = [&](int64_t size) { return std::exchange(next, next + size); };
    for (Real** matrix : {&queries, &keys, &keys_transposed, &values}) *matrix = take(shape.size());
    if (backward)
      for (Real** matrix : {&values_transposed, &grad_out, &grad_keys, &grad_values})
        *matrix = take(shape.size());
    scores = take(kQueries * shape.padded_rows);
    if (backward) grad_scores = take(kQueries * shape.padded_rows);
    result = take(kQueries * shape.padded_dim);
    per_row = take(shape.padded_rows);
  }

  // [padded_rows, padded_dim], or panels of the transpose; the last four only backward
  Real* queries;  // times 1 / sqrt(head_dim)
  Real* keys;
  Real* keys_transposed;
  Real* values;
  Real* values_transposed = nullptr;
  Real* grad_out = nullptr;
  Real* grad_keys = nullptr;
  Real* grad_values = nullptr;

  Real* scores;                 // [kQueries, padded_rows]
  Real* grad_scores = nullptr;  // likewise
  Real* result;                 // [kQueries, padded_dim], of these queries
  Real* per_row;                // [padded_rows]

 private:
  at::Tensor memory_;
};

/// A segment's heads, one after the other.
template <typename T>
class SegmentHeads {
 public:
  using Real = RealOf<T>;

  SegmentHeads(const AttentionHeads& heads, const HeadShape& shape,
               const HeadBuffers<Real>& buffers)
      : heads_(heads), shape_(shape), buffers_(buffers) {}

  /// Rows of all heads; logsumexp has one number a query head.
  void forward(const HeadRows<const T>& qkv, const HeadRows<T>& out,
               const HeadRows<Real>& logsumexp) const {
    for (int64_t head = 0; head < heads_.heads; ++head) {
      if (head % group() == 0) load_keys(qkv, head / group());
      pack<T>(part(qkv, head), shape_, scale(), buffers_.queries);
      for (int64_t first = 0; first < shape_.rows; first += kQueries) {
        const Scores<Real> scores = scores_from(first);
        exponentiate(scores, buffers_.per_row,
                     HeadRows<Real>{logsumexp.data + head, logsumexp.stride}.from(first));
        multiply_panels({scores.data, scores.stride, 1}, by_rows(buffers_.values), seen(scores),
                        /*add=*/false, result());
        unpack<T>(buffers_.result, scores.queries, shape_,
                  {buffers_.per_row, static_cast<size_t>(scores.queries)},
                  part(out, head).from(first));
      }
    }
  }

  /// qkv becomes its gradient.
  void backward(const HeadRows<T>& qkv, const HeadRows<const T>& out,
                const HeadRows<const T>& grad_out, const HeadRows<const Real>& logsumexp) const {
    const HeadRows<const T> x{qkv.data, qkv.stride};
    for (int64_t head = 0; head < heads_.heads; ++head) {
      const int64_t key_head = head / group();
      if (head % group() == 0) load_keys(x, key_head);
      pack<T>(part(x, head), shape_, scale(), buffers_.queries);
      pack<T>(part(grad_out, head), shape_, Real{1}, buffers_.grad_out);
      row_dots<T>(part(grad_out, head), part(out, head), shape_, buffers_.per_row);
      for (int64_t first = 0; first < shape_.rows; first += kQueries)
        backward_queries(first, {logsumexp.data + head, logsumexp.stride}, part(qkv, head));
      if ((head + 1) % group() != 0) continue;
      const Real one = 1;
      unpack<T>(buffers_.grad_keys, shape_.rows, shape_, {&one, 1},
                part(qkv, heads_.heads + key_head));
      unpack<T>(buffers_.grad_values, shape_.rows, shape_, {&one, 1},
                part(qkv, heads_.heads + heads_.kv_heads + key_head));
    }
  }

 private:
  int64_t group() const { return heads_.heads / heads_.kv_heads; }
  Real scale() const {
    return static_cast<Real>(1 / std::sqrt(static_cast<double>(heads_.head_dim)));
  }
  /// Head number head of rows that hold one after the other.
  template <typename Row>
  HeadRows<Row> part(const HeadRows<Row>& rows, int64_t head) const {
    return {rows.data + head * heads_.head_dim, rows.stride};
  }
  /// How many keys there are for these queries.
  int64_t seen(const Scores<Real>& scores) const { return std::min(scores.keys(), shape_.rows); }

  PanelMatrix<Real> by_rows(const Real* matrix) const {
    return {matrix, shape_.padded_dim, kPanelColumns<Real>};
  }
  PanelMatrix<Real> transposed(const Real* panels) const {
    return {panels, kPanelColumns<Real>, shape_.padded_dim * kPanelColumns<Real>};
  }
  ProductBlock<Real> result() const {
    return {buffers_.result, shape_.padded_dim, kQueries, shape_.padded_dim};
  }

  void load_keys(const HeadRows<const T>& qkv, int64_t key_head) const {
    pack<T>(part(qkv, heads_.heads + key_head), shape_, Real{1}, buffers_.keys);
    transpose(buffers_.keys, shape_, buffers_.keys_transposed);
    pack<T>(part(qkv, heads_.heads + heads_.kv_heads + key_head), shape_, Real{1}, buffers_.values);
    if (buffers_.grad_keys == nullptr) return;
    transpose(buffers_.values, shape_, buffers_.values_transposed);
    std::fill_n(buffers_.grad_keys, shape_.size(), Real{0});
    std::fill_n(buffers_.grad_values, shape_.size(), Real{0});
  }

  Scores<Real> scores_from(int64_t first) const {
    const Scores<Real> scores{buffers_.scores, shape_.padded_rows, first,
                              std::min(kQueries, shape_.rows - first)};
    multiply_panels({buffers_.queries + first * shape_.padded_dim, shape_.padded_dim, 1},
                    transposed(buffers_.keys_transposed), shape_.head_dim, /*add=*/false,
                    scores.block());
    return scores;
  }

  void backward_queries(int64_t first, const HeadRows<const Real>& logsumexp,
                        const HeadRows<T>& grad_queries) const {
    const Scores<Real> scores = scores_from(first);
    const Real* grad_out = buffers_.grad_out + first * shape_.padded_dim;
    multiply_panels({grad_out, shape_.padded_dim, 1}, transposed(buffers_.values_transposed),
                    shape_.head_dim, /*add=*/false,
                    {buffers_.grad_scores, scores.stride, kQueries, scores.keys()});
    differentiate(scores, buffers_.grad_scores, logsumexp.from(first), buffers_.per_row + first);
    const auto add_to_keys = [&](const Real* weights, const Real* rows, Real* gradient) {
      multiply_panels({weights, 1, scores.stride}, by_rows(rows), scores.queries, /*add=*/true,
                      {gradient, shape_.padded_dim, scores.keys(), shape_.padded_dim});
    };
    add_to_keys(scores.data, grad_out, buffers_.grad_values);
    add_to_keys(buffers_.grad_scores, buffers_.queries + first * shape_.padded_dim,
                buffers_.grad_keys);
    multiply_panels({buffers_.grad_scores, scores.stride, 1}, by_rows(buffers_.keys), seen(scores),
                    /*add=*/false, result());
    const Real factor = scale();
    unpack<T>(buffers_.result, scores.queries, shape_, {&factor, 1}, grad_queries.from(first));
  }

  const AttentionHeads& heads_;
  const HeadShape& shape_;
  const HeadBuffers<Real>& buffers_;
};

/// Calls f with each segment and its heads, which share one set of buffers.
template <typename T, typename F>
void for_each_segment(const AttentionHeads& heads, const std::vector<AttentionSegment>& segments,
                      bool backward, F&& f) {
  int64_t longest = 0;
  for (const AttentionSegment& segment : segments) longest = std::max(longest, segment.rows);
  const HeadBuffers<RealOf<T>> buffers(head_shape<RealOf<T>>({0, longest}, heads.head_dim),
                                       backward);
  for (const AttentionSegment& segment : segments)
    f(segment, SegmentHeads<T>(heads, head_shape<RealOf<T>>(segment, heads.head_dim), buffers));
}

/// A matrix's rows from a segment's first.
template <typename T>
HeadRows<const T> rows_of(const at::Tensor& x, const AttentionSegment& segment) {
  return HeadRows<const T>{x.const_data_ptr<T>(), x.size(1)}.from(segment.first_row);
}
template <typename T>
HeadRows<T> mutable_rows_of(const at::Tensor& x, const AttentionSegment& segment) {
  return HeadRows<T>{x.mutable_data_ptr<T>(), x.size(1)}.from(segment.first_row);
}

}  // namespace

AttentionOutput attention(const at::Tensor& qkv, const AttentionHeads& heads,
                          const std::vector<AttentionSegment>& segments) {
  const int64_t rows = qkv.size(0);
  AttentionOutput result{
      at::empty({rows, heads.heads * heads.head_dim}, qkv.options()),
      at::empty({rows, heads.heads}, qkv.options().dtype(real_type(qkv.scalar_type()))),
      {}};
  with_type(qkv.scalar_type(), [&]<typename T>(T) {
    for_each_segment<T>(heads, segments, /*backward=*/false,
                        [&](const AttentionSegment& segment, const SegmentHeads<T>& of) {
                          of.forward(rows_of<T>(qkv, segment),
                                     mutable_rows_of<T>(result.out, segment),
                                     mutable_rows_of<RealOf<T>>(result.logsumexp, segment));
                        });
  });
  return result;
}

void attention_backward(const at::Tensor& qkv, const AttentionHeads& heads,
                        const std::vector<AttentionSegment>& segments,
                        const AttentionOutput& forward, const at::Tensor& grad_out) {
  with_type(qkv.scalar_type(), [&]<typename T>(T) {
    for_each_segment<T>(heads, segments, /*backward=*/true,
                        [&](const AttentionSegment& segment, const SegmentHeads<T>& of) {
                          of.backward(mutable_rows_of<T>(qkv, segment),
                                      rows_of<T>(forward.out, segment),
                                      rows_of<T>(grad_out, segment),
                                      rows_of<RealOf<T>>(forward.logsumexp, segment));
                        });
  });
}

}  // namespace kente
