#include "csrc/measure/storage.h"

#include <algorithm>
#include <vector>

#include "csrc/base/clock.h"
#include "csrc/measure/statistics.h"

namespace kente {
namespace {

constexpr int64_t kPieceBytes = 1 << 20;
constexpr int64_t kSmallBytes = 4096;
constexpr int kSyncs = 5;

}  // namespace

StorageSpeed measure_storage(FileSystem& files, const std::string& directory,
                             const std::string& name, int64_t bytes) {
  files.make_directories(directory);
  const std::string path = directory + "/" + name;
  if (files.exists(path)) files.remove(path);  // of a bench that was killed
  // Not all alike: some file systems do not write zeros.
  std::vector<char> piece(static_cast<size_t>(kPieceBytes));
  for (size_t i = 0; i < piece.size(); ++i) piece[i] = static_cast<char>((i * 2654435761U) >> 13);
  StorageSpeed speed;
  {
    const auto file = files.create(path);
    const int64_t begin = now_ns();
    for (int64_t written = 0; written < bytes; written += kPieceBytes)
      file->append(piece.data(), std::min(kPieceBytes, bytes - written));
    speed.bytes_per_second = static_cast<double>(bytes) / seconds_since(begin);
    file->close();
  }
  files.remove(path);
  std::vector<double> syncs;
  for (int i = 0; i < kSyncs; ++i) {
    const auto file = files.create(path);
    file->append(piece.data(), kSmallBytes);
    const int64_t begin = now_ns();
    file->sync();
    syncs.push_back(seconds_since(begin));
    file->close();
    files.remove(path);
  }
  speed.sync_seconds = median(syncs);
  return speed;
}

}  // namespace kente
