#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cuda/queue.h"

namespace kente::cuda {

/// Where a case's tensors lie: in a pretended GPU's memory, or in a real one's.
class KernelMemory {
 public:
  virtual ~KernelMemory() = default;

  /// Zeros of a tensor whose bytes the case's model counts; and of one that it does not.
  template <class T = void>
  T* bulk(int64_t bytes) {
    return static_cast<T*>(zeros(bytes, Counted::kYes));
  }
  template <class T = void>
  T* small(int64_t bytes) {
    return static_cast<T*>(zeros(bytes, Counted::kNo));
  }
  /// Such values, not counted.
  template <class T>
  T* array(const std::vector<T>& values) {
    const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
    T* const data = small<T>(bytes);
    write(data, values.data(), bytes);
    return data;
  }

 protected:
  enum class Counted { kYes, kNo };
  virtual void* zeros(int64_t bytes, Counted counted) = 0;
  virtual void write(void* to, const void* from, int64_t bytes) = 0;
};

/// Widths of a large model, and how much of it one launch takes.
struct KernelSizes {
  int64_t rows = 24;                      // M, tokens
  int64_t loss_rows = 2;                  // of logits
  int64_t parameters = int64_t{1} << 16;  // of the optimizer, and of the wire
  int64_t width = 4096, ffn = 11008, vocabulary = 128256;
};

/// One kernel at those sizes, in bf16.
struct KernelCase {
  std::string op;
  std::string model;  // of the bytes that must move, as BYTES A UNIT
  int64_t must = 0;   // those bytes
  /// Allocates what it takes and returns its launch, which may be called again and again.
  std::function<std::function<cudaError_t()>(KernelMemory&, const Queue&)> prepare;
  int generation = 0;  // it is what GPUs with this one's shared memory do; 0: all of them
};

std::vector<KernelCase> kernel_cases(const KernelSizes& sizes);

}  // namespace kente::cuda
