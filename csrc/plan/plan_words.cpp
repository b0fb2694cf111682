#include "csrc/plan/plan_words.h"

#include <fmt/format.h>

#include <algorithm>

namespace kente {

std::string seconds_words(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.0f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.{}f} ms", seconds * 1e3, seconds < 0.1 ? 2 : 1);
  return fmt::format("{:.{}f} s", seconds, seconds < 100 ? 2 : 0);
}

std::string bytes_words(int64_t bytes) {
  const double mib = static_cast<double>(bytes) / (1 << 20);
  if (mib < 10) return fmt::format("{:.2f} MiB", mib);
  return mib < 1000 ? fmt::format("{:.0f} MiB", mib) : fmt::format("{:.2f} GiB", mib / 1024);
}

const std::string& device_name(const CostModel& model, int rank) {
  return model.cluster().devices[static_cast<size_t>(model.ranks().device_of(rank))].id;
}

std::string layers_words(const ModelConfig& model, const LayerRange& range) {
  const int head = model.num_layers() - 1;
  const int first = std::max(range.first, 1);
  const int last = std::min(range.last, head - 1);
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (range.first == 0) add("embedding");
  if (first < last) add(fmt::format("{}-{}", first, last));
  if (first == last) add(std::to_string(first));
  if (range.last == head) add("head");
  return text;
}

}  // namespace kente
