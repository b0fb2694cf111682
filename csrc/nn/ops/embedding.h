#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace kente {

/// y[r] = table[ids[r]]. table [V, D] compute dtype, ids [rows], each below V (InternalError names
/// one that is not). Returns [rows, D].
at::Tensor embedding(const at::Tensor& table, const int32_t* ids, int64_t rows);

/// y[r] += table[ids[r]].
void add_embedding(const at::Tensor& table, const int32_t* ids, const at::Tensor& y);

/// grad_table[ids[r]] += dy[r], row by row in order. dy [rows, D] compute dtype; grad_table [V, D]
/// f32 (f64).
void embedding_backward(const at::Tensor& dy, const int32_t* ids, const at::Tensor& grad_table);

}  // namespace kente
