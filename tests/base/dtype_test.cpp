#include "csrc/base/dtype.h"

#include <gtest/gtest.h>

#include <set>

#include "csrc/base/buffer_view.h"
#include "csrc/base/errors.h"

namespace kente {
namespace {

constexpr DType kAll[] = {DType::kU8,  DType::kU16,  DType::kI32, DType::kI64,
                          DType::kF16, DType::kBF16, DType::kF32, DType::kF64};

TEST(DType, HasTheSizeThatItsNameSays) {
  for (const DType dtype : kAll) {
    const std::string name(name_of(dtype));
    const int64_t bits = std::stoll(name.substr(name.find_first_of("0123456789")));
    EXPECT_EQ(size_of(dtype) * 8, bits) << name;
  }
}

TEST(DType, NamesAreDistinct) {
  std::set<std::string_view> names;
  for (const DType dtype : kAll) names.insert(name_of(dtype));
  EXPECT_EQ(names.size(), std::size(kAll));
}

TEST(DType, RefusesAValueOutsideTheEnum) {
  EXPECT_THROW(size_of(static_cast<DType>(99)), InternalError);
  EXPECT_THROW(name_of(static_cast<DType>(99)), InternalError);
}

TEST(BufferView, CountsBytesByDtype) {
  float values[6] = {};
  EXPECT_EQ((BufferView{values, 6, DType::kF32}).bytes(), 24);
  EXPECT_EQ(BufferView{}.bytes(), 0);
}

}  // namespace
}  // namespace kente
