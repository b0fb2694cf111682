#include "csrc/base/unique_handle.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace kente {
namespace {

// A handle is an index into a list of release counts that the test owns; -1 owns nothing.
struct Counter {
  std::vector<int>* released = nullptr;
  size_t index = 0;
  bool operator==(const Counter&) const = default;
};

struct CountRelease {
  static Counter none() { return {}; }
  void operator()(Counter c) const { ++(*c.released)[c.index]; }
};
using Handle = UniqueHandle<Counter, CountRelease>;

TEST(UniqueHandle, ReleasesOnceAtTheEndOfItsScope) {
  std::vector<int> released(1);
  {
    const Handle handle(Counter{&released, 0});
    EXPECT_TRUE(handle);
    EXPECT_EQ(released[0], 0);
  }
  EXPECT_EQ(released[0], 1);
}

TEST(UniqueHandle, ThatOwnsNothingReleasesNothing) {
  const Handle handle;
  EXPECT_FALSE(handle);
}

TEST(UniqueHandle, MoveHandsTheHandleOver) {
  std::vector<int> released(1);
  {
    Handle first(Counter{&released, 0});
    const Handle second(std::move(first));
    EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): that it is empty is the claim
    EXPECT_TRUE(second);
  }
  EXPECT_EQ(released[0], 1);
}

TEST(UniqueHandle, MoveAssignmentReleasesWhatItHeldBefore) {
  std::vector<int> released(2);
  Handle first(Counter{&released, 0});
  Handle second(Counter{&released, 1});
  first = std::move(second);
  EXPECT_EQ(released, (std::vector{1, 0}));
  first.reset();
  EXPECT_EQ(released, (std::vector{1, 1}));
}

TEST(UniqueHandle, SurvivesBeingMovedIntoItself) {
  std::vector<int> released(1);
  Handle handle(Counter{&released, 0});
  Handle& same = handle;
  handle = std::move(same);
  EXPECT_TRUE(handle);
  EXPECT_EQ(released[0], 0);
}

TEST(UniqueHandle, ReleaseGivesUpWithoutReleasing) {
  std::vector<int> released(1);
  Handle handle(Counter{&released, 0});
  EXPECT_EQ(handle.release(), (Counter{&released, 0}));
  EXPECT_FALSE(handle);
  handle.reset();
  EXPECT_EQ(released[0], 0);
}

}  // namespace
}  // namespace kente
