#include "csrc/device/gemm.h"

#include "csrc/base/errors.h"

namespace kente {

GemmSizes sizes_of(const GemmCall& call) {
  const auto rows = [](const GemmMatrix& x) { return x.transposed ? x.columns : x.rows; };
  const auto columns = [](const GemmMatrix& x) { return x.transposed ? x.rows : x.columns; };
  const GemmSizes sizes{.m = rows(call.a), .n = columns(call.b), .k = columns(call.a)};
  KENTE_CHECK(sizes.k == rows(call.b),
              std::to_string(sizes.k) + " columns times " + std::to_string(rows(call.b)) + " rows");
  KENTE_CHECK(call.a.stride >= call.a.columns && call.b.stride >= call.b.columns &&
                  call.d_stride >= sizes.n,
              "rows that lie in each other");
  KENTE_CHECK(call.out_dtype == call.dtype || call.out_dtype == DType::kF32,
              std::string(name_of(call.dtype)) + " to " + std::string(name_of(call.out_dtype)));
  return sizes;
}

}  // namespace kente
