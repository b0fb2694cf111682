#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <vector>

#include "csrc/base/micro_batch.h"

namespace kente {

struct AttentionHeads {
  int64_t heads = 0;     // H
  int64_t kv_heads = 0;  // K, divides H: query head h reads key/value head h / (H / K)
  int64_t head_dim = 0;
  int64_t width() const { return (heads + 2 * kv_heads) * head_dim; }
};

/// Rows of a micro-batch that attend to each other and to nothing else.
struct AttentionSegment {
  int64_t first_row = 0;
  int64_t rows = 0;
};

/// One segment a sample, or one a document of each sample.
std::vector<AttentionSegment> attention_segments(const MicroBatch& batch, bool stop_at_documents);

struct AttentionOutput {
  at::Tensor out;                   // [rows, H head_dim] compute dtype
  at::Tensor logsumexp;             // [rows, H] f32 (f64); a GPU's in its kernel's order
  std::array<at::Tensor, 2> state;  // what a GPU's kernel wants back, bytes; undefined on a CPU
};

/// Causal softmax(q k^T / sqrt(head_dim)) v inside each segment. qkv [rows, width]: q, then k, then
/// v. Products and the softmax in f32 (f64); no segment's bits depend on another. Source: Vaswani
/// et al. 2017, arXiv:1706.03762, equation 1; what is kept for the gradient: Dao et al. 2022,
/// arXiv:2205.14135, section 3.1.
AttentionOutput attention(const at::Tensor& qkv, const AttentionHeads& heads,
                          const std::vector<AttentionSegment>& segments);

/// qkv becomes its gradient; a key/value head's is summed over its query heads in order, in f32
/// (f64). The scores are made anew. grad_out [rows, H head_dim].
void attention_backward(const at::Tensor& qkv, const AttentionHeads& heads,
                        const std::vector<AttentionSegment>& segments,
                        const AttentionOutput& forward, const at::Tensor& grad_out);

}  // namespace kente
