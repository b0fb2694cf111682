#include "csrc/ckpt/state_copy.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "csrc/base/errors.h"
#include "csrc/base/proc_files.h"
#include "csrc/base/round_up.h"

namespace kente {
namespace {

constexpr int64_t kAlignment = 64;  // a cache line

int64_t aligned(int64_t bytes) { return round_up(bytes, kAlignment); }

}  // namespace

StateCopy::StateCopy(const std::vector<NamedTensor>& tensors, int sharing) : tensors_(tensors) {
  for (const NamedTensor& tensor : tensors) bytes_ += aligned(tensor.data.bytes());
  if (bytes_ == 0) return;
  // The kernel promises more than it has and ends somebody later.
  const int64_t free = free_memory("");
  void* memory = MAP_FAILED;
  if (bytes_ < free / sharing)
    memory = ::mmap(nullptr, static_cast<size_t>(bytes_), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED)
    throw StorageError("a copy of the training state needs " + std::to_string(bytes_ >> 20) +
                       " MiB of memory, " + std::to_string(free >> 20) +
                       " MiB are free; checkpoints are written while training waits");
  memory_ = static_cast<char*>(memory);
  int64_t offset = 0;
  for (NamedTensor& tensor : tensors_) {
    tensor.data.data = memory_ + offset;
    offset += aligned(tensor.data.bytes());
  }
}

StateCopy::~StateCopy() {
  if (memory_) ::munmap(memory_, static_cast<size_t>(bytes_));
}

void StateCopy::fill(const std::vector<NamedTensor>& tensors) {
  KENTE_CHECK(tensors.size() == tensors_.size(), "other tensors than the copy was made for");
  for (size_t i = 0; i < tensors.size(); ++i) {
    const NamedTensor& from = tensors[i];
    const NamedTensor& to = tensors_[i];
    KENTE_CHECK(from.name == to.name && from.data.bytes() == to.data.bytes(),
                from.name + " where the copy has " + to.name);
    std::memcpy(to.data.data, from.data.data, static_cast<size_t>(from.data.bytes()));
  }
}

}  // namespace kente
