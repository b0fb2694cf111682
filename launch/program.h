#pragma once

#include <cstdio>
#include <exception>

#include "csrc/base/errors.h"

namespace kente {

/// What a program's main() does around its work: a failure becomes one line on stderr, which begins
/// with the command's name, and its exit status.
inline int program_main(const char* name, int (*run)(int argc, char** argv), int argc,
                        char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s: %s\n", name, failure.what());
    return static_cast<int>(exit_status(failure));
  }
}

}  // namespace kente
