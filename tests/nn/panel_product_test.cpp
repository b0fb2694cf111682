#include "csrc/nn/ops/panel_product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <type_traits>
#include <vector>

#include "csrc/base/rng.h"

namespace kente {
namespace {

template <typename Real>
std::vector<Real> numbers(size_t count, uint64_t stream) {
  std::vector<Real> values(count);
  for (size_t i = 0; i < count; ++i)
    values[i] =
        static_cast<Real>(random_bits(1, RngUse::kTest, stream, i) % 1021) / Real{512} - Real{1};
  return values;
}

template <typename Real>
class PanelProduct : public testing::Test {};
using Reals = testing::Types<float, double>;
TYPED_TEST_SUITE(PanelProduct, Reals);

/// Two row tiles, three panels; a's rows or columns lie together.
template <typename Real>
void expect_products(int64_t depth, bool add, bool transposed) {
  const int64_t rows = 2 * kPanelRows, columns = 3 * kPanelColumns<Real>;
  const auto size = [](int64_t a, int64_t b) { return static_cast<size_t>(a * b); };
  const std::vector<Real> a = numbers<Real>(size(rows, depth), 1);
  const std::vector<Real> b = numbers<Real>(size(depth, columns), 2);
  const std::vector<Real> before = numbers<Real>(size(rows, columns), 3);
  const StridedMatrix<Real> left{a.data(), transposed ? 1 : depth, transposed ? rows : 1};
  const PanelMatrix<Real> right{b.data(), columns, kPanelColumns<Real>};
  std::vector<Real> wide = before, narrow = before;
  multiply_panels(left, right, depth, add, {wide.data(), columns, rows, columns}, TileSize::kWide);
  multiply_panels(left, right, depth, add, {narrow.data(), columns, rows, columns},
                  TileSize::kNarrow);
  EXPECT_EQ(wide, narrow);
  const double close = (std::is_same_v<Real, float> ? 1e-6 : 1e-15) * (1 + std::sqrt(depth));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) {
      double want = add ? before[size(i, columns) + size(j, 1)] : 0;
      for (int64_t k = 0; k < depth; ++k)
        want += static_cast<double>(a[size(i, left.row) + size(k, left.column)]) *
                static_cast<double>(b[size(k, columns) + size(j, 1)]);
      ASSERT_NEAR(wide[size(i, columns) + size(j, 1)], want, close) << i << ", " << j;
    }
}

TYPED_TEST(PanelProduct, IsTheSumOverDepthForBothTileSizes) {
  for (const int64_t depth : {0, 1, 7, 40})
    for (const bool add : {false, true})
      for (const bool transposed : {false, true})
        expect_products<TypeParam>(depth, add, transposed);
}

TYPED_TEST(PanelProduct, ReadsPanelsThatLieApart) {
  const int64_t depth = 5, columns = 2 * kPanelColumns<TypeParam>;
  const auto whole = numbers<TypeParam>(static_cast<size_t>(depth * columns), 1);
  const auto left = numbers<TypeParam>(static_cast<size_t>(depth * kPanelRows), 2);
  std::vector<TypeParam> panels(whole.size());
  for (int64_t k = 0; k < depth; ++k)
    for (int64_t j = 0; j < columns; ++j) {
      const int64_t panel = j / kPanelColumns<TypeParam>;
      panels[static_cast<size_t>((panel * depth + k) * kPanelColumns<TypeParam> +
                                 j % kPanelColumns<TypeParam>)] =
          whole[static_cast<size_t>(k * columns + j)];
    }
  std::vector<TypeParam> want(static_cast<size_t>(kPanelRows * columns)), got = want;
  const StridedMatrix<TypeParam> a{left.data(), depth, 1};
  multiply_panels(a, {whole.data(), columns, kPanelColumns<TypeParam>}, depth, false,
                  {want.data(), columns, kPanelRows, columns});
  multiply_panels(a, {panels.data(), kPanelColumns<TypeParam>, depth * kPanelColumns<TypeParam>},
                  depth, false, {got.data(), columns, kPanelRows, columns});
  EXPECT_EQ(got, want);
}

}  // namespace
}  // namespace kente
