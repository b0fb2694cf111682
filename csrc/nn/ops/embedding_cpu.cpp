#include "csrc/nn/ops/embedding.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "csrc/nn/ops/vector.h"

namespace kente {
namespace {

void check_ids(const int32_t* ids, int64_t rows, int64_t size) {
  for (int64_t row = 0; row < rows; ++row)
    KENTE_CHECK(
        ids[row] >= 0 && ids[row] < size,
        "id " + std::to_string(ids[row]) + " in an embedding of " + std::to_string(size) + " rows");
}

template <typename T>
KENTE_KERNEL void add_rows(const T* table, const int32_t* ids, T* y, int64_t rows, int64_t d) {
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < d; i += kLanes<T>) {
      const int64_t n = std::min(kLanes<T>, d - i);
      store(y + row * d + i, load(y + row * d + i, n) + load(table + ids[row] * d + i, n), n);
    }
  }
}

template <typename T>
KENTE_KERNEL void scatter_rows(const T* dy, const int32_t* ids, RealOf<T>* grad, int64_t rows,
                               int64_t d) {
  for (int64_t row = 0; row < rows; ++row) {
    RealOf<T>* to = grad + ids[row] * d;
    for (int64_t i = 0; i < d; i += kLanes<T>) {
      const int64_t n = std::min(kLanes<T>, d - i);
      store(to + i, load(to + i, n) + load(dy + row * d + i, n), n);
    }
  }
}

}  // namespace

at::Tensor embedding(const at::Tensor& table, const int32_t* ids, int64_t rows) {
  check_ids(ids, rows, table.size(0));
  const int64_t d = table.size(1);
  at::Tensor y = at::empty({rows, d}, table.options());
  with_type(table.scalar_type(), [&]<typename T>(T) {
    const T* from = table.const_data_ptr<T>();
    T* to = y.mutable_data_ptr<T>();
    for (int64_t row = 0; row < rows; ++row) std::copy_n(from + ids[row] * d, d, to + row * d);
  });
  return y;
}

void add_embedding(const at::Tensor& table, const int32_t* ids, const at::Tensor& y) {
  check_ids(ids, y.size(0), table.size(0));
  with_type(table.scalar_type(), [&]<typename T>(T) {
    add_rows(table.const_data_ptr<T>(), ids, y.mutable_data_ptr<T>(), y.size(0), y.size(1));
  });
}

void embedding_backward(const at::Tensor& dy, const int32_t* ids, const at::Tensor& grad_table) {
  check_ids(ids, dy.size(0), grad_table.size(0));
  with_type(dy.scalar_type(), [&]<typename T>(T) {
    scatter_rows<T>(dy.const_data_ptr<T>(), ids, grad_table.mutable_data_ptr<RealOf<T>>(),
                    dy.size(0), dy.size(1));
  });
}

}  // namespace kente
