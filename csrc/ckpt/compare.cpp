#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "csrc/ckpt/whole_checkpoint.h"

namespace kente {
namespace {

using Tensor = WholeCheckpoint::Tensor;

/// Bits decide whether elements differ; only fp32 has a distance, and that is what a state is of.
TensorDifference difference(const Tensor& tensor, const std::vector<char>& a,
                            const std::vector<char>& b) {
  TensorDifference found{.name = tensor.name, .what = ""};
  const auto size = static_cast<size_t>(size_of(tensor.dtype));
  found.elements = static_cast<int64_t>(a.size() / size);
  for (size_t at = 0; at < a.size(); at += size) {
    if (std::memcmp(a.data() + at, b.data() + at, size) == 0) continue;
    ++found.differing;
    if (tensor.dtype != DType::kF32) continue;
    float x = 0, y = 0;
    std::memcpy(&x, a.data() + at, size);
    std::memcpy(&y, b.data() + at, size);
    const double away = std::abs(static_cast<double>(x) - static_cast<double>(y));
    found.largest = std::max(found.largest,
                             std::isfinite(away) ? away : std::numeric_limits<double>::infinity());
  }
  return found;
}

}  // namespace

std::vector<TensorDifference> compare(WholeCheckpoint& a, WholeCheckpoint& b,
                                      const ByteProgress& progress) {
  std::vector<TensorDifference> found;
  std::map<std::string, const Tensor*> others;
  for (const Tensor& tensor : b.tensors()) others[tensor.name] = &tensor;
  int64_t done = 0;
  for (const Tensor& tensor : a.tensors()) {
    done += tensor.bytes;
    const auto other = others.find(tensor.name);
    if (other == others.end()) {
      found.push_back({.name = tensor.name, .what = "only in the first"});
      continue;
    }
    const Tensor& theirs = *other->second;
    others.erase(other);
    if (theirs.shape != tensor.shape || theirs.dtype != tensor.dtype) {
      found.push_back({.name = tensor.name, .what = "other shape or type"});
      continue;
    }
    std::vector<char> left(static_cast<size_t>(tensor.bytes)), right(left.size());
    a.read(tensor, left.data());
    b.read(theirs, right.data());
    if (left != right) found.push_back(difference(tensor, left, right));
    if (progress) progress(done, a.bytes());
  }
  for (const auto& [name, tensor] : others)
    found.push_back({.name = name, .what = "only in the second"});
  std::sort(found.begin(), found.end(),
            [](const TensorDifference& x, const TensorDifference& y) { return x.name < y.name; });
  return found;
}

}  // namespace kente
