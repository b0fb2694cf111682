#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace kente {

/// A file being written. Closing without sync() promises nothing about what a power cut leaves.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  virtual void append(const void* data, int64_t bytes) = 0;
  /// Returns once the bytes are on the medium (fdatasync). A failure here makes the file unusable:
  /// write a new one, never sync this one again.
  virtual void sync() = 0;
  virtual void close() = 0;
};

/// A file being read. Thread-safe.
class ReadableFile {
 public:
  virtual ~ReadableFile() = default;
  virtual int64_t size() const = 0;
  /// Reads exactly bytes at offset, or throws StorageError.
  virtual void read_at(int64_t offset, void* data, int64_t bytes) const = 0;
  /// The same, past the page cache where the file system can and data, offset and bytes are
  /// multiples of a page: what was just written may be in the cache alone.
  virtual void read_from_medium(int64_t offset, void* data, int64_t bytes) const {
    read_at(offset, data, bytes);
  }
  /// A hint: these bytes are read next, as far as there are so many. Does nothing to their content.
  virtual void will_read(int64_t offset, int64_t bytes) const {
    (void)offset;
    (void)bytes;
  }
};

/// The file system as a seam: everything that must survive a fault goes through it, so that tests
/// can tear, fail and forget writes. All paths are used as they are. Failures throw StorageError,
/// which names the path, the operation and the reason.
class FileSystem {
 public:
  virtual ~FileSystem() = default;
  /// Creates a new file; an existing one is an error.
  virtual std::unique_ptr<WritableFile> create(const std::string& path) = 0;
  /// Opens for appending, creating it when it is missing.
  virtual std::unique_ptr<WritableFile> open_append(const std::string& path) = 0;
  /// Opens a regular file for reading, never through a symbolic link in the last component.
  virtual std::unique_ptr<ReadableFile> open(const std::string& path) = 0;
  virtual bool exists(const std::string& path) = 0;
  /// Names in a directory, sorted, without "." and ".."; empty when the directory is missing.
  virtual std::vector<std::string> list(const std::string& directory) = 0;
  virtual void make_directories(const std::string& path) = 0;
  virtual void remove(const std::string& path) = 0;
  virtual void remove_all(const std::string& path) = 0;
  /// rename(2) that refuses to replace an existing target.
  virtual void rename_new(const std::string& from, const std::string& to) = 0;
  /// rename(2) that replaces the target atomically.
  virtual void rename_over(const std::string& from, const std::string& to) = 0;
  /// Makes the directory's entries durable.
  virtual void sync_directory(const std::string& path) = 0;
};

/// The machine's own file system.
std::unique_ptr<FileSystem> posix_file_system();

/// The whole of a file of at most cap bytes; UsageError names a missing file, a directory, or a
/// file beyond the cap.
std::string read_text_file(const std::string& path, int64_t cap);

/// Writes text to a temporary neighbour, syncs it, renames it over path and syncs the directory.
void write_text_file(FileSystem& files, const std::string& path, std::string_view text);

}  // namespace kente
