#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "csrc/base/file_system.h"

namespace kente {

/// The machine's file system with a hook before every operation that changes something. The hook
/// may wait or throw; it is called from whatever thread the operation is on.
class HookedFileSystem : public FileSystem {
 public:
  /// operation: "create", "append", "sync", "close", "remove", "rename", "sync directory".
  using Hook = std::function<void(std::string_view operation, const std::string& path)>;
  explicit HookedFileSystem(Hook hook) : hook_(std::move(hook)) {}

  std::unique_ptr<WritableFile> create(const std::string& path) override {
    hook_("create", path);
    return std::make_unique<Writable>(files_->create(path), path, hook_);
  }
  std::unique_ptr<WritableFile> open_append(const std::string& path) override {
    hook_("create", path);
    return std::make_unique<Writable>(files_->open_append(path), path, hook_);
  }
  std::unique_ptr<ReadableFile> open(const std::string& path) override {
    return files_->open(path);
  }
  bool exists(const std::string& path) override { return files_->exists(path); }
  std::vector<std::string> list(const std::string& directory) override {
    return files_->list(directory);
  }
  void make_directories(const std::string& path) override { files_->make_directories(path); }
  void remove(const std::string& path) override {
    hook_("remove", path);
    files_->remove(path);
  }
  void remove_all(const std::string& path) override {
    hook_("remove", path);
    files_->remove_all(path);
  }
  void rename_new(const std::string& from, const std::string& to) override {
    hook_("rename", to);
    files_->rename_new(from, to);
  }
  void rename_over(const std::string& from, const std::string& to) override {
    hook_("rename", to);
    files_->rename_over(from, to);
  }
  void sync_directory(const std::string& path) override {
    hook_("sync directory", path);
    files_->sync_directory(path);
  }

 private:
  class Writable : public WritableFile {
   public:
    Writable(std::unique_ptr<WritableFile> file, std::string path, const Hook& hook)
        : file_(std::move(file)), path_(std::move(path)), hook_(hook) {}
    void append(const void* data, int64_t bytes) override {
      hook_("append", path_);
      file_->append(data, bytes);
    }
    void sync() override {
      hook_("sync", path_);
      file_->sync();
    }
    void close() override {
      hook_("close", path_);
      file_->close();
    }

   private:
    std::unique_ptr<WritableFile> file_;
    std::string path_;
    const Hook& hook_;
  };

  const Hook hook_;
  std::unique_ptr<FileSystem> files_ = posix_file_system();
};

}  // namespace kente
