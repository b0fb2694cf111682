#pragma once

#include <cstdlib>
#include <memory>
#include <new>

#include "csrc/ckpt/checkpoint.h"

namespace kente {

/// Room for one chunk, aligned as file systems want it for reading and writing past their cache.
class ChunkBuffer {
 public:
  ChunkBuffer()
      : bytes_(static_cast<char*>(std::aligned_alloc(kPage, static_cast<size_t>(kDigestChunk)))) {
    if (!bytes_) throw std::bad_alloc();
  }
  char* data() { return bytes_.get(); }

 private:
  static constexpr size_t kPage = 4096;
  struct Free {
    void operator()(char* bytes) const { std::free(bytes); }
  };
  std::unique_ptr<char, Free> bytes_;
};

}  // namespace kente
