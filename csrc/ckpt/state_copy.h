#pragma once

#include <cstdint>
#include <vector>

#include "csrc/ckpt/checkpoint.h"

namespace kente {

/// A copy of a training state in this process's memory, so that it can be written while training
/// goes on. One thread at a time.
class StateCopy {
 public:
  /// Allocates and touches what these tensors need. sharing: how many processes of this machine do
  /// the same at once. Throws StorageError when so much memory is not free.
  StateCopy(const std::vector<NamedTensor>& tensors, int sharing);
  ~StateCopy();
  StateCopy(const StateCopy&) = delete;
  StateCopy& operator=(const StateCopy&) = delete;

  /// One copy of the tensors: the same names and sizes as given to the constructor.
  void fill(const std::vector<NamedTensor>& tensors);
  /// What fill() copied; the views stay valid as long as this object.
  const std::vector<NamedTensor>& tensors() const { return tensors_; }

 private:
  char* memory_ = nullptr;
  int64_t bytes_ = 0;
  std::vector<NamedTensor> tensors_;
};

}  // namespace kente
