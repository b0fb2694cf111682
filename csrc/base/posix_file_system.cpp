#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "csrc/base/errors.h"
#include "csrc/base/failpoint.h"
#include "csrc/base/file_system.h"
#include "csrc/base/unique_handle.h"

namespace kente {
namespace {

struct CloseFd {
  static int none() { return -1; }
  void operator()(int fd) const { ::close(fd); }
};
using Fd = UniqueHandle<int, CloseFd>;

[[noreturn]] void fail(const std::string& path, const char* operation) {
  throw StorageError(path + ": cannot " + operation + ": " + std::strerror(errno));
}

Fd open_or_fail(const std::string& path, int flags, const char* operation) {
  Fd fd(::open(path.c_str(), flags | O_CLOEXEC, 0644));
  if (!fd) fail(path, operation);
  return fd;
}

constexpr int64_t kPage = 4096, kLarge = 1 << 20;

/// What may be read or written past the page cache.
bool is_large_and_aligned(const void* data, int64_t offset, int64_t bytes) {
  return bytes >= kLarge && bytes % kPage == 0 && offset % kPage == 0 &&
         reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(kPage) == 0;
}

class PosixWritable : public WritableFile {
 public:
  PosixWritable(std::string path, Fd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  void append(const void* data, int64_t bytes) override {
    const char* at = static_cast<const char*>(data);
    go_past_the_cache(is_large_and_aligned(at, written_, bytes));
    // A line is one write: others append to the same file. Of more a test may leave half.
    const int64_t half = bytes >= kLarge ? bytes / 2 / kPage * kPage : 0;
    write_all(at, half);
    KENTE_FAILPOINT("storage.write");
    write_all(at + half, bytes - half);
    written_ += bytes;
  }
  void sync() override {
    KENTE_FAILPOINT("storage.sync");
    if (::fdatasync(fd_.get()) != 0) fail(path_, "sync");
  }
  void close() override {
    if (::close(fd_.release()) != 0) fail(path_, "close");
  }

 private:
  /// Large writes need no place in the page cache, which training's data want. Not every file
  /// system can do it.
  void go_past_the_cache(bool wanted) {
    if (wanted == direct_ || (wanted && !may_be_direct_)) return;
    const int flags = ::fcntl(fd_.get(), F_GETFL);
    direct_ = ::fcntl(fd_.get(), F_SETFL, wanted ? flags | O_DIRECT : flags & ~O_DIRECT) == 0
                  ? wanted
                  : direct_;
    may_be_direct_ = may_be_direct_ && direct_ == wanted;
  }
  void write_all(const char* at, int64_t bytes) {
    while (bytes > 0) {
      const ssize_t n = ::write(fd_.get(), at, static_cast<size_t>(bytes));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EINVAL && direct_) {
        may_be_direct_ = false;
        go_past_the_cache(false);
        continue;
      }
      if (n <= 0) fail(path_, "write");
      at += n;
      bytes -= n;
    }
  }

  std::string path_;
  Fd fd_;
  int64_t written_ = 0;
  bool direct_ = false, may_be_direct_ = true;
};

class PosixReadable : public ReadableFile {
 public:
  PosixReadable(std::string path, Fd fd, int64_t size)
      : path_(std::move(path)),
        fd_(std::move(fd)),
        direct_(::open(("/proc/self/fd/" + std::to_string(fd_.get())).c_str(),
                       O_RDONLY | O_DIRECT | O_CLOEXEC)),
        size_(size) {}

  int64_t size() const override { return size_; }
  void read_at(int64_t offset, void* data, int64_t bytes) const override {
    read(offset, data, bytes, false);
  }
  void read_from_medium(int64_t offset, void* data, int64_t bytes) const override {
    read(offset, data, bytes, direct_ && is_large_and_aligned(data, offset, bytes));
  }
  void will_read(int64_t offset, int64_t bytes) const override {
    ::posix_fadvise(fd_.get(), offset, bytes, POSIX_FADV_WILLNEED);
  }

 private:
  void read(int64_t offset, void* data, int64_t bytes, bool direct) const {
    char* at = static_cast<char*>(data);
    while (bytes > 0) {
      const ssize_t n =
          ::pread(direct ? direct_.get() : fd_.get(), at, static_cast<size_t>(bytes), offset);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EINVAL && direct) {
        direct = false;
        continue;
      }
      if (n < 0) fail(path_, "read");
      if (n == 0) throw StorageError(path_ + ": ends at byte " + std::to_string(offset));
      at += n;
      offset += n;
      bytes -= n;
    }
  }

  std::string path_;
  Fd fd_;
  Fd direct_;  // the same file, past the cache; none where the file system cannot
  int64_t size_;
};

class PosixFileSystem : public FileSystem {
 public:
  std::unique_ptr<WritableFile> create(const std::string& path) override {
    KENTE_FAILPOINT("storage.create");
    return std::make_unique<PosixWritable>(
        path, open_or_fail(path, O_WRONLY | O_CREAT | O_EXCL, "create"));
  }
  std::unique_ptr<WritableFile> open_append(const std::string& path) override {
    return std::make_unique<PosixWritable>(
        path, open_or_fail(path, O_WRONLY | O_CREAT | O_APPEND, "open"));
  }
  std::unique_ptr<ReadableFile> open(const std::string& path) override {
    Fd fd = open_or_fail(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, "open");
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) fail(path, "stat");
    if (!S_ISREG(status.st_mode)) throw StorageError(path + ": not a regular file");
    return std::make_unique<PosixReadable>(path, std::move(fd), status.st_size);
  }
  bool exists(const std::string& path) override {
    struct stat status {};
    return ::lstat(path.c_str(), &status) == 0;
  }
  std::vector<std::string> list(const std::string& directory) override {
    std::vector<std::string> names;
    DIR* dir = ::opendir(directory.c_str());
    if (!dir) {
      if (errno == ENOENT) return names;
      fail(directory, "list");
    }
    while (const dirent* entry = ::readdir(dir)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    ::closedir(dir);
    std::sort(names.begin(), names.end());
    return names;
  }
  void make_directories(const std::string& path) override {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (error) throw StorageError(path + ": cannot create the directory: " + error.message());
  }
  void remove(const std::string& path) override {
    KENTE_FAILPOINT("storage.remove");
    if (::unlink(path.c_str()) != 0) fail(path, "remove");
  }
  void remove_all(const std::string& path) override {
    KENTE_FAILPOINT("storage.remove");
    std::error_code error;
    std::filesystem::remove_all(path, error);
    if (error) throw StorageError(path + ": cannot remove: " + error.message());
  }
  void rename_new(const std::string& from, const std::string& to) override {
    KENTE_FAILPOINT("storage.rename");
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0)
      fail(from, ("rename to " + to).c_str());
  }
  void rename_over(const std::string& from, const std::string& to) override {
    KENTE_FAILPOINT("storage.rename");
    if (::rename(from.c_str(), to.c_str()) != 0) fail(from, ("rename to " + to).c_str());
  }
  void sync_directory(const std::string& path) override {
    KENTE_FAILPOINT("storage.sync_directory");
    const Fd fd = open_or_fail(path, O_RDONLY | O_DIRECTORY, "open");
    if (::fsync(fd.get()) != 0) fail(path, "sync");
  }
};

}  // namespace

std::unique_ptr<FileSystem> posix_file_system() { return std::make_unique<PosixFileSystem>(); }

std::string read_text_file(const std::string& path, int64_t cap) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) throw UsageError(path + ": cannot open: " + std::strerror(errno));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) fail(path, "stat");
  if (!S_ISREG(status.st_mode)) throw UsageError(path + ": not a file");
  if (status.st_size > cap)
    throw UsageError(path + ": " + std::to_string(status.st_size) + " bytes, at most " +
                     std::to_string(cap) + " are read");
  std::string text(static_cast<size_t>(status.st_size), '\0');
  PosixReadable(path, std::move(fd), status.st_size).read_at(0, text.data(), status.st_size);
  return text;
}

void write_text_file(FileSystem& files, const std::string& path, std::string_view text) {
  const std::string temporary = path + ".tmp";
  if (files.exists(temporary)) files.remove(temporary);
  auto file = files.create(temporary);
  file->append(text.data(), static_cast<int64_t>(text.size()));
  file->sync();
  file->close();
  files.rename_over(temporary, path);
  const std::string parent = std::filesystem::path(path).parent_path().string();
  files.sync_directory(parent.empty() ? "." : parent);
}

}  // namespace kente
