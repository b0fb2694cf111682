#include "tests/cuda/seeded_machine.h"

namespace kente::cuda {
namespace {

// ThreadSanitizer stops at the race itself: there, seeded_race_main.cpp takes this file's place.
TEST(HostGpu, ADeletedBarrierShowsInWhatOtherTurnsGive) {
  EXPECT_FALSE(agrees(reverse_twice<Barriers::kFirstDeleted>));
  EXPECT_FALSE(agrees(reverse_twice<Barriers::kSecondDeleted>));
  EXPECT_FALSE(agrees(reverse_warps<WarpBarrier::kDeleted>));
}

}  // namespace
}  // namespace kente::cuda
