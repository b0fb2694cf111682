/// One parser under libFuzzer: see launch/check --part fuzz.
#include <cstddef>
#include <cstdint>

#include "tests/fuzz/fuzz_targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const kente::FuzzTarget& target = kente::fuzz_target(KENTE_FUZZ_TARGET);
  target.takes({reinterpret_cast<const char*>(bytes), size});
  return 0;
}
