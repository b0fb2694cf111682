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
