#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <string>

#include "tests/outer/round_world.h"

namespace kente {
namespace {

/// KENTE_ROUND_SEEDS: how many; KENTE_ROUND_SEED: the first.
uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* const value = std::getenv(name);
  return value != nullptr ? std::strtoull(value, nullptr, 10) : otherwise;
}

TEST(RoundSimulation, NoSeedOfFaultsBreaksARound) {
  const uint64_t first = from_environment("KENTE_ROUND_SEED", 1);
  const uint64_t seeds = from_environment("KENTE_ROUND_SEEDS", 400);
  std::map<std::string, int64_t> happened;
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    RoundWorld world(seed);
    const std::string failure = world.run();
    ASSERT_EQ(failure, "") << "KENTE_ROUND_SEED=" << seed << " KENTE_ROUND_SEEDS=1";
    for (const auto& [what, count] : world.happened()) happened[what] += count;
    happened["rounds done"] += world.rounds_done();
  }
  for (const auto& [what, count] : happened) RecordProperty(what, std::to_string(count));
  // A simulation in which nothing goes wrong proves nothing.
  if (seeds < 100) return;
  for (const char* const what :
       {"hub killed", "hub's ghost", "record written, never acknowledged", "lab killed",
        "lab's ghost", "ghost stopped", "cut", "lost", "healed", "healing failed",
        "no aggregate to apply", "wrong weights"})
    EXPECT_GT(happened[what], 0) << what;
}

}  // namespace
}  // namespace kente
