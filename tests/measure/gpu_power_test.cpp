#include "csrc/measure/gpu_power.h"

#include <gtest/gtest.h>

namespace kente {
namespace {

TEST(GpuEnergy, CountsFromTheLastLook) {
  GpuEnergy energy("0000:01:00.0", KENTE_PRETEND_NVML);
  ASSERT_TRUE(energy.joules().has_value());
  EXPECT_DOUBLE_EQ(*energy.joules(), 2.5);
  EXPECT_DOUBLE_EQ(*energy.joules(), 2.5);
}

TEST(GpuEnergy, IsNotKnownWithoutTheLibraryOrTheGpu) {
  EXPECT_FALSE(GpuEnergy("0000:02:00.0", KENTE_PRETEND_NVML).joules());
  EXPECT_FALSE(GpuEnergy("0000:01:00.0", "libno-such-thing.so.1").joules());
  EXPECT_FALSE(GpuEnergy("0000:01:00.0", "libc.so.6").joules());
}

}  // namespace
}  // namespace kente
