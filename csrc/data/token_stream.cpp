#include "csrc/data/token_stream.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "csrc/base/errors.h"
#include "csrc/base/unique_handle.h"

namespace kente {
namespace {

static_assert(std::endian::native == std::endian::little, "token files are little-endian");

constexpr char kMagic[] = "MMIDIDX\0";  // nine bytes with the terminator
constexpr int64_t kHeaderBytes = 9 + 8 + 1 + 8 + 8;
constexpr int64_t kMaxEntries = int64_t{1} << 40;

struct CloseFd {
  static int none() { return -1; }
  void operator()(int fd) const { ::close(fd); }
};

template <typename T>
T read_at(const MappedFile& file, int64_t offset) {
  T value;
  std::memcpy(&value, file.data() + offset, sizeof(T));
  return value;
}

DType dtype_of_code(const MappedFile& idx, int code) {
  if (code == 4) return DType::kI32;
  if (code == 8) return DType::kU16;
  throw FormatError(
      idx.path(), 17,
      "token type code " + std::to_string(code) + "; allowed: 4 (int32) and 8 (uint16)");
}

/// Where the index's parts begin, from its two counts.
struct IndexParts {
  int64_t sequences = 0, borders = 0;  // there is a border more than documents

  int64_t length_at(int64_t sequence) const { return kHeaderBytes + 4 * sequence; }
  int64_t offset_at(int64_t sequence) const { return length_at(sequences) + 8 * sequence; }
  int64_t border_at(int64_t border) const { return offset_at(sequences) + 8 * border; }
};

IndexParts read_header(const MappedFile& idx) {
  if (idx.size() < kHeaderBytes || std::memcmp(idx.data(), kMagic, sizeof(kMagic)) != 0)
    throw FormatError(idx.path(), 0, "not a token index (MMIDIDX); make the source again");
  const auto version = read_at<uint64_t>(idx, 9);
  if (version != 1)
    throw FormatError(idx.path(), 9, "index version " + std::to_string(version) + "; allowed: 1");
  const auto sequences = read_at<uint64_t>(idx, 18);
  const auto borders = read_at<uint64_t>(idx, 26);
  if (sequences > kMaxEntries || borders > kMaxEntries || borders == 0)
    throw FormatError(idx.path(), 18,
                      std::to_string(sequences) + " sequences and " + std::to_string(borders) +
                          " borders cannot be");
  const IndexParts parts{static_cast<int64_t>(sequences), static_cast<int64_t>(borders)};
  const int64_t want = parts.border_at(parts.borders);
  if (want != idx.size())
    throw FormatError(idx.path(), idx.size(),
                      "the index has " + std::to_string(idx.size()) +
                          " bytes and its header says " + std::to_string(want) +
                          ": it was cut or changed");
  return parts;
}

// Sequences lie end to end in the .bin and fill it; a gap would be text that nobody counted.
void check_sequences(const MappedFile& idx, const IndexParts& parts, int64_t token_bytes,
                     const MappedFile& bin) {
  int64_t end = 0;
  for (int64_t i = 0; i < parts.sequences; ++i) {
    const auto length = read_at<int32_t>(idx, parts.length_at(i));
    const auto offset = read_at<int64_t>(idx, parts.offset_at(i));
    if (length < 1 || offset != end || length > (bin.size() - end) / token_bytes)
      throw FormatError(idx.path(), parts.offset_at(i),
                        "sequence " + std::to_string(i) + " has " + std::to_string(length) +
                            " tokens at byte " + std::to_string(offset) +
                            "; the one before ends at " + std::to_string(end) + " of " +
                            std::to_string(bin.size()) + " in " + bin.path());
    end += length * token_bytes;
  }
  if (end != bin.size())
    throw FormatError(bin.path(), end,
                      "the file has " + std::to_string(bin.size()) + " bytes and its index says " +
                          std::to_string(end) + ": it was cut or changed");
}

void check_borders(const MappedFile& idx, const IndexParts& parts) {
  int64_t previous = -1;
  for (int64_t i = 0; i < parts.borders; ++i) {
    const auto border = read_at<int64_t>(idx, parts.border_at(i));
    const bool wrong_end = i + 1 == parts.borders && border != parts.sequences;
    if (border <= previous || border > parts.sequences || (i == 0 && border != 0) || wrong_end)
      throw FormatError(idx.path(), parts.border_at(i),
                        "document border " + std::to_string(i) + " is sequence " +
                            std::to_string(border) + " of " + std::to_string(parts.sequences) +
                            "; borders ascend from 0 to the last");
    previous = border;
  }
}

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const UniqueHandle<int, CloseFd> fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) throw UsageError(path + ": cannot open: " + std::strerror(errno));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0)
    throw StorageError(path + ": cannot stat: " + std::strerror(errno));
  if (!S_ISREG(status.st_mode)) throw UsageError(path + ": not a file");
  size_ = status.st_size;
  if (size_ == 0) return;
  void* at = ::mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) throw StorageError(path + ": cannot map: " + std::strerror(errno));
  data_ = static_cast<const uint8_t*>(at);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<uint8_t*>(data_), static_cast<size_t>(size_));
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

TokenStream::TokenStream(const std::string& prefix) : idx_(prefix + ".idx"), bin_(prefix + ".bin") {
  const IndexParts parts = read_header(idx_);
  dtype_ = dtype_of_code(idx_, read_at<uint8_t>(idx_, 17));
  const int64_t token_bytes = size_of(dtype_);
  check_sequences(idx_, parts, token_bytes, bin_);
  check_borders(idx_, parts);
  tokens_ = bin_.size() / token_bytes;
  sequences_ = parts.sequences;
  documents_ = parts.borders - 1;
}

int64_t TokenStream::document_end(int64_t document) const {
  KENTE_CHECK(document >= 0 && document < documents_,
              std::to_string(document) + " of " + std::to_string(documents_));
  const IndexParts parts{sequences_, documents_ + 1};
  const int64_t last = read_at<int64_t>(idx_, parts.border_at(document + 1)) - 1;
  return read_at<int64_t>(idx_, parts.offset_at(last)) / size_of(dtype_) +
         read_at<int32_t>(idx_, parts.length_at(last));
}

void TokenStream::copy(int64_t first, int64_t count, int32_t* out) const {
  KENTE_CHECK(first >= 0 && count >= 0 && first <= tokens_ && count <= tokens_ - first,
              std::to_string(first) + " + " + std::to_string(count) + " of " +
                  std::to_string(tokens_) + " in " + bin_.path());
  if (count == 0) return;
  if (dtype_ == DType::kI32) {
    std::memcpy(out, bin_.data() + 4 * first, static_cast<size_t>(4 * count));
    return;
  }
  const uint8_t* from = bin_.data() + 2 * first;
  for (int64_t i = 0; i < count; ++i) {
    uint16_t token;
    std::memcpy(&token, from + 2 * i, sizeof(token));
    out[i] = token;
  }
}

}  // namespace kente
