#pragma once

#include <cstdint>
#include <string>

#include "csrc/base/dtype.h"

namespace kente {

/// A file mapped into memory, read-only. The bytes must not be shortened while it is mapped.
class MappedFile {
 public:
  /// Throws UsageError when the file is missing, StorageError when it cannot be read.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  const uint8_t* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  std::string path_;
  const uint8_t* data_ = nullptr;
  int64_t size_ = 0;
};

/// A Megatron .bin/.idx pair, mapped: tokens of all documents in one stream. Thread-safe.
///
/// .idx: "MMIDIDX\0\0", u64 version 1, u8 dtype (4: int32, 8: uint16), u64 sequences, u64 documents
/// + 1, i32 length of each sequence, i64 byte offset of each, i64 first sequence of each document
/// and the end; all little-endian.
class TokenStream {
 public:
  /// Opens prefix.bin and prefix.idx. Every length, offset and border is checked against the files'
  /// sizes. Throws UsageError for a missing file, FormatError for a damaged one.
  explicit TokenStream(const std::string& prefix);

  int64_t documents() const { return documents_; }
  int64_t tokens() const { return tokens_; }
  DType dtype() const { return dtype_; }
  const std::string& bin_path() const { return bin_.path(); }
  const std::string& idx_path() const { return idx_.path(); }
  int64_t bin_bytes() const { return bin_.size(); }
  int64_t idx_bytes() const { return idx_.size(); }
  const uint8_t* bin_data() const { return bin_.data(); }
  const uint8_t* idx_data() const { return idx_.data(); }

  /// Tokens from the stream's start to the end of a document.
  int64_t document_end(int64_t document) const;
  /// Copies tokens [first, first + count) to out.
  void copy(int64_t first, int64_t count, int32_t* out) const;

 private:
  MappedFile idx_;
  MappedFile bin_;
  DType dtype_ = DType::kU16;
  int64_t tokens_ = 0;
  int64_t sequences_ = 0;
  int64_t documents_ = 0;
};

}  // namespace kente
