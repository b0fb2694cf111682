// Searches seeds until the simulator finds what is wrong with a protocol that is wrong. Exit
// status: 0 when it was found, 1 when not.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>

#include "tests/outer/round_world.h"

int main(int argc, char** argv) {
  const unsigned long seeds = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 2000;
  for (unsigned long seed = 1; seed <= seeds; ++seed) {
    std::string failure;
    try {
      failure = kente::RoundWorld(seed).run();
    } catch (const std::exception& thrown) {
      failure = thrown.what();
    }
    if (failure.empty()) continue;
    std::printf("seed %lu: %s\n", seed, failure.c_str());
    return 0;
  }
  std::printf("nothing was found in %lu seeds\n", seeds);
  return 1;
}
