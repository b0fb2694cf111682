#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace kente {

/// XXH3, 64 bits: chunk digests, where the enemy is a flipped bit.
uint64_t xxh3_64(const void* data, size_t bytes);

/// 16 lower-case hex digits.
std::string hex64(uint64_t value);

/// SHA-256: identities (sources, recipes, files), where two parties must agree.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(const void* data, size_t bytes);
  /// 64 lower-case hex digits; the object may not be used afterwards.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256_hex(std::string_view bytes);

}  // namespace kente
