#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "csrc/base/file_system.h"

namespace kente {

/// What happens at the chosen operation.
enum class Fault {
  kFail,  // it throws StorageError and changes nothing; later ones work
  kFull,  // ENOSPC: of an append half its bytes are there; nothing grows until a file is removed
  kLostSync,  // EIO: bytes that a failed sync of a file should have written never reach the medium,
              // though later ones succeed, as on Linux (Rebello et al., USENIX ATC 2020); at other
              // operations as kFail: entries of directories are in a journal
  kTorn,      // an append writes half its bytes first, another operation none; then as kPowerCut
  kPowerCut,  // it and all later ones throw until the power is back
};

/// What a power cut leaves of the things that were never synced.
enum class Unsynced {
  kLost,         // neither bytes nor directory entries
  kEntriesOnly,  // directory entries reached the medium, the files' bytes did not
  kKept,         // everything happened to reach it
};

/// A file system in memory that can fail, tear and forget. Knows what was synced: bytes of a file
/// by WritableFile::sync(), entries of a directory by sync_directory(). Paths are absolute. One
/// thread.
class FaultyFileSystem : public FileSystem {
 public:
  FaultyFileSystem();
  ~FaultyFileSystem() override;

  /// The fault happens at operation number index, counted from 0 from now on. Only operations that
  /// change something count: creating, appending, syncing, closing, removing, renaming.
  void set_fault(int64_t index, Fault fault);
  /// Changing operations since set_fault() or the start.
  int64_t operations() const { return operations_; }
  bool fault_happened() const { return happened_; }
  /// Cuts the power now, then starts again without a fault.
  void power_cycle(Unsynced unsynced);
  /// The same, each unsynced file and directory entry by a die of its own: files keep all, nothing,
  /// the first part, or zeros in place of the rest.
  void power_cycle_at_random(std::mt19937& random);
  /// Inverts one bit of a file, on the medium and in memory.
  void flip_bit(const std::string& path, int64_t byte, int bit);

  std::unique_ptr<WritableFile> create(const std::string& path) override;
  std::unique_ptr<WritableFile> open_append(const std::string& path) override;
  std::unique_ptr<ReadableFile> open(const std::string& path) override;
  bool exists(const std::string& path) override;
  std::vector<std::string> list(const std::string& directory) override;
  void make_directories(const std::string& path) override;
  void remove(const std::string& path) override;
  void remove_all(const std::string& path) override;
  void rename_new(const std::string& from, const std::string& to) override;
  void rename_over(const std::string& from, const std::string& to) override;
  void sync_directory(const std::string& path) override;

 private:
  struct Node;
  class Writable;
  class Readable;
  using NodePtr =
      std::shared_ptr<Node>;  // shared: live and durable directories name the same nodes

  NodePtr find(const std::string& path) const;
  NodePtr find_directory(const std::string& path) const;
  NodePtr parent_of(const std::string& path, std::string& name) const;
  /// Counts an operation that changes something; throws when the fault is due. True: tear this
  /// append.
  bool next_operation(const std::string& path, bool grows = false);
  void power_on();
  bool is_due(Fault fault) const { return powered_ && fault_ == fault && operations_ == fault_at_; }
  void append_to(Node& node, const std::string& path, const void* data, int64_t bytes);

  NodePtr root_;
  int64_t operations_ = 0;
  int64_t fault_at_ = -1;
  Fault fault_ = Fault::kFail;
  bool happened_ = false;
  bool powered_ = true;
  bool full_ = false;
};

}  // namespace kente
