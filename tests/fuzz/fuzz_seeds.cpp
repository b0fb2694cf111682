/// fuzz_seeds DIR: writes DIR/<target>/seed-<n> for every target, and prints the targets' names.
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/fuzz/fuzz_targets.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  try {
    for (const kente::FuzzTarget& target : kente::fuzz_targets()) {
      const std::string directory = std::string(argv[1]) + "/" + target.name;
      std::filesystem::create_directories(directory);
      int number = 0;
      for (const std::string& seed : target.seeds())
        std::ofstream(directory + "/seed-" + std::to_string(number++), std::ios::binary) << seed;
      std::printf("%s\n", target.name);
    }
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "fuzz_seeds: %s\n", failure.what());
    return 1;
  }
  return 0;
}
