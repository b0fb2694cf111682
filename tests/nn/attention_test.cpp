#include "csrc/nn/ops/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "tests/nn/central_differences.h"
#include "tests/nn/tiny_model.h"

namespace kente {
namespace {

/// out[row, head] = softmax over earlier rows of the segment, one scalar at a time.
at::Tensor slow_attention(const at::Tensor& qkv, const AttentionHeads& h,
                          const std::vector<AttentionSegment>& segments) {
  const std::vector<double> x = values_of(qkv);
  at::Tensor result = zeros({qkv.size(0), h.heads * h.head_dim});
  double* out = result.mutable_data_ptr<double>();
  const auto at = [&](int64_t row, int64_t head, int64_t i) {
    return x[static_cast<size_t>(row * h.width() + head * h.head_dim + i)];
  };
  for (const AttentionSegment& s : segments)
    for (int64_t row = s.first_row; row < s.first_row + s.rows; ++row)
      for (int64_t head = 0; head < h.heads; ++head) {
        const int64_t key = h.heads + head / (h.heads / h.kv_heads);
        std::vector<double> weights;
        double sum = 0;
        for (int64_t other = s.first_row; other <= row; ++other) {
          double score = 0;
          for (int64_t i = 0; i < h.head_dim; ++i) score += at(row, head, i) * at(other, key, i);
          weights.push_back(std::exp(score / std::sqrt(static_cast<double>(h.head_dim))));
          sum += weights.back();
        }
        for (size_t j = 0; j < weights.size(); ++j)
          for (int64_t i = 0; i < h.head_dim; ++i)
            out[(row * h.heads + head) * h.head_dim + i] +=
                weights[j] / sum * at(s.first_row + static_cast<int64_t>(j), key + h.kv_heads, i);
      }
  return result;
}

TEST(Attention, MatchesASlowReferenceWithGroupsAndSegments) {
  const std::vector<AttentionSegment> segments = {{0, 40}, {40, 1}, {41, 9}};
  for (const int64_t kv_heads : {1, 2, 4}) {
    const AttentionHeads heads{.heads = 4, .kv_heads = kv_heads, .head_dim = 6};
    const at::Tensor qkv = random_tensor({50, heads.width()}, 1);
    EXPECT_LE(relative_difference(attention(qkv, heads, segments).out,
                                  slow_attention(qkv, heads, segments)),
              1e-13)
        << kv_heads;
  }
}

TEST(Attention, BackwardMatchesCentralDifferences) {
  const std::vector<AttentionSegment> segments = {{0, 5}, {5, 1}, {6, 3}};
  for (const int64_t kv_heads : {1, 2, 4}) {
    const AttentionHeads heads{.heads = 4, .kv_heads = kv_heads, .head_dim = 2};
    const at::Tensor qkv = random_tensor({9, heads.width()}, 1);
    const at::Tensor dy = random_tensor({9, 8}, 2);
    const auto f = [&] { return dot(attention(qkv, heads, segments).out, dy); };
    const at::Tensor gradient = qkv.clone();
    attention_backward(gradient, heads, segments, attention(gradient, heads, segments), dy);
    expect_gradient(f, qkv, gradient, "qkv");
  }
}

/// Longer than a block of queries, heads wider than a tile: samples of 70, 1 and 33 rows.
const std::vector<AttentionSegment> long_segments = {{0, 70}, {70, 1}, {71, 33}};
constexpr int64_t kLongRows = 104;

struct Attended {
  at::Tensor out, gradient;
};

Attended attend(const at::Tensor& x, at::ScalarType type, const AttentionHeads& heads,
                const at::Tensor& dy) {
  const at::Tensor qkv = x.to(type, /*non_blocking=*/false, /*copy=*/true);
  const AttentionOutput forward = attention(qkv, heads, long_segments);
  attention_backward(qkv, heads, long_segments, forward, dy.to(type));
  return {forward.out, qkv};
}

TEST(Attention, EveryTypeAgreesWithDoubleOnRowsBeyondOneBlock) {
  for (const int64_t kv_heads : {1, 4}) {
    const AttentionHeads heads{.heads = 4, .kv_heads = kv_heads, .head_dim = 40};
    const at::Tensor x = random_tensor({kLongRows, heads.width()}, 3);
    const at::Tensor dy = random_tensor({kLongRows, 160}, 4);
    const Attended want = attend(x, at::kDouble, heads, dy);
    EXPECT_LE(relative_difference(want.out, slow_attention(x, heads, long_segments)), 1e-13);
    const std::vector<std::pair<at::ScalarType, double>> types = {
        {at::kFloat, 2e-6}, {at::kHalf, 5e-3}, {at::kBFloat16, 4e-2}};
    for (const auto& [type, close] : types) {
      const Attended got = attend(x, type, heads, dy);
      EXPECT_LE(relative_difference(got.out.to(at::kDouble), want.out), close) << type;
      EXPECT_LE(relative_difference(got.gradient.to(at::kDouble), want.gradient), close) << type;
    }
  }
}

TEST(Attention, BackwardMatchesACentralDifferenceAcrossBlocks) {
  const AttentionHeads heads{.heads = 4, .kv_heads = 2, .head_dim = 40};
  const at::Tensor x = random_tensor({kLongRows, heads.width()}, 3);
  const at::Tensor dy = random_tensor({kLongRows, 160}, 4);
  const at::Tensor gradient = attend(x, at::kDouble, heads, dy).gradient;
  // One segment's rows at a time: those of each block of queries, and of each segment.
  for (const auto& [first, rows] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 32}, {32, 32}, {64, 6}, {70, 1}, {71, 33}}) {
    at::Tensor direction = zeros({kLongRows, heads.width()});
    direction.narrow(0, first, rows).copy_(random_tensor({rows, heads.width()}, 8));
    constexpr double kStep = 1e-5;
    const auto f = [&](double step) {
      return dot(attention(x.add(direction, step), heads, long_segments).out, dy);
    };
    const double want = (f(kStep) - f(-kStep)) / (2 * kStep);
    EXPECT_NEAR(dot(gradient, direction), want, 1e-7 * std::abs(want)) << first;
  }
}

TEST(Attention, NoSegmentsBitsDependOnAnother) {
  const AttentionHeads heads{.heads = 2, .kv_heads = 1, .head_dim = 40};
  const at::Tensor x = random_tensor({kLongRows, heads.width()}, 5).to(at::kFloat);
  const at::Tensor dy = random_tensor({kLongRows, 80}, 6).to(at::kFloat);
  const Attended together = attend(x, at::kFloat, heads, dy);
  for (const AttentionSegment& segment : long_segments) {
    const auto alone = [&](const at::Tensor& all) {
      return all.narrow(0, segment.first_row, segment.rows).clone();
    };
    const at::Tensor qkv = alone(x);
    const std::vector<AttentionSegment> whole = {{0, segment.rows}};
    const AttentionOutput forward = attention(qkv, heads, whole);
    attention_backward(qkv, heads, whole, forward, alone(dy));
    EXPECT_TRUE(same_bits(forward.out, alone(together.out))) << segment.first_row;
    EXPECT_TRUE(same_bits(qkv, alone(together.gradient))) << segment.first_row;
  }
}

TEST(Attention, ANumberThatIsNoneStaysOne) {
  const AttentionHeads heads{.heads = 1, .kv_heads = 1, .head_dim = 8};
  const at::Tensor x = random_tensor({kLongRows, heads.width()}, 7).to(at::kFloat);
  x.mutable_data_ptr<float>()[5 * heads.width()] = NAN;  // a query
  const at::Tensor out = attention(x, heads, long_segments).out;
  const std::vector<double> values = values_of(out.to(at::kDouble));
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(std::isnan(values[i]), i / 8 == 5) << i;
}

TEST(Attention, SegmentsFollowSamplesAndDocuments) {
  const ModelConfig model = tiny_model(ModelFamily::kGpt2, true);
  const MicroBatch batch = tiny_batch(model, 2, 9, true);
  EXPECT_EQ(attention_segments(batch, false).size(), 2u);
  const std::vector<AttentionSegment> segments = attention_segments(batch, true);
  const std::vector<std::pair<int64_t, int64_t>> want = {{0, 3}, {3, 1},  {4, 5},
                                                         {9, 3}, {12, 1}, {13, 5}};
  ASSERT_EQ(segments.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_EQ((std::pair{segments[i].first_row, segments[i].rows}), want[i]);
}

}  // namespace
}  // namespace kente
