#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "csrc/base/buffer_view.h"
#include "csrc/base/file_system.h"

namespace kente {

/// Says that a stored tensor [n] holds elements [first, first + n) of a larger one, flattened in
/// row-major order; the others lie in other shards.
struct PieceOf {
  std::string name;
  std::vector<int64_t> shape;
  int64_t first = 0;

  bool operator==(const PieceOf&) const = default;
};

/// A tensor, or a named part of the state, as it is stored. Contiguous, row-major.
struct NamedTensor {
  std::string name;  // of a piece too: given once in a checkpoint
  std::vector<int64_t> shape;
  BufferView data;
  std::optional<PieceOf> piece_of = std::nullopt;
};

struct StoredTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  int64_t offset = 0, bytes = 0;  // in the file
  std::optional<PieceOf> piece_of = std::nullopt;

  bool operator==(const StoredTensor&) const = default;
};

inline constexpr int64_t kDigestChunk = 8 << 20;

/// One safetensors file of a checkpoint.
struct Shard {
  std::string file;    // "rank-0003.safetensors", no directory
  int64_t domain = 0;  // the storage domain (node) that wrote it; domains are numbered from 0
  int64_t bytes = 0;
  std::string sha256;
  std::vector<uint64_t> chunk_xxh3;   // one per kDigestChunk bytes of the file
  std::vector<StoredTensor> tensors;  // in file order

  bool operator==(const Shard&) const = default;
};

/// MANIFEST.json of a checkpoint; the same bytes on every node. Names every shard of every node.
struct CheckpointManifest {
  int64_t version = 1;  // 2 when a tensor is stored in pieces
  int64_t step = 0;
  std::string run_id;
  std::string recipe_sha256;
  int64_t samples = 0;                       // consumed so far: the data cursor
  std::map<std::string, std::string> state;  // further resume state (strings), e.g. "tokens"
  std::vector<Shard> shards;

  /// Adds a shard, and raises the version if it needs a newer one.
  void add(Shard shard);
  /// Storage domains that hold a part: 1 + the highest domain of a shard.
  int64_t domains() const;
  bool operator==(const CheckpointManifest&) const = default;
};

/// One node's part of a checkpoint on its way: everything is written into directory/.tmp-<id>;
/// commit() renames that to directory/step-<12 digits>. Never committed, it stays until
/// remove_leftovers(). id must be equal for the ranks of a node, unique per attempt, and of
/// letters, digits, '.', '_' and '-'.
///
/// Writes one safetensors file and syncs it; the digests are of what memory held, so read_back()
/// tells whether the medium has it. Uses 16 MiB besides the tensors. Throws StorageError: the
/// attempt is lost, older checkpoints are not. domain is left 0: the caller sets it. Ranks of a
/// node may write at once.
Shard write_shard(FileSystem& files, const std::string& directory, const std::string& id,
                  const std::string& file, const std::vector<NamedTensor>& tensors);
/// Reads a shard that was written to path, past the cache where that is possible. Throws
/// StorageError when a byte is not what was written. Uses 24 MiB.
void read_back(FileSystem& files, const std::string& path, const Shard& shard);
/// As write_shard() and read_back(), from a shard at path that may be damaged: every chunk's digest
/// is checked on the way. Throws FormatError for a damaged one, StorageError for anything else.
void copy_shard(FileSystem& files, const std::string& path, const Shard& shard,
                const std::string& directory, const std::string& id);
/// Once per node, after every shard was written.
void write_manifest(FileSystem& files, const std::string& directory, const std::string& id,
                    const CheckpointManifest& manifest);
/// The only commit point of this node's part; the part survives a power cut once it returned. A
/// step of this number that is there already is replaced: training would not have come here again
/// if it had been whole.
void commit(FileSystem& files, const std::string& directory, const std::string& id, int64_t step);
/// Removes what attempts left behind. Nobody may be writing.
void remove_leftovers(FileSystem& files, const std::string& directory);
/// Keeps the newest keep (>= 1) sound steps, everything newer than the oldest of them, and the
/// steps in also; removes the rest. Sound: the manifest's digest holds and no shard that belongs
/// here is missing or of the wrong size. Call it when the newest step is committed on every node.
void retain(FileSystem& files, const std::string& directory, int64_t keep,
            const std::set<int64_t>& also = {});
/// Takes a step out of sight at once, so that a power cut leaves all of it or nothing, then removes
/// it.
void remove_step(FileSystem& files, const std::string& directory, int64_t step);
/// Removes every step after this one: training went back to it.
void forget_after(FileSystem& files, const std::string& directory, int64_t step);

/// "step-000000000042"
std::string step_directory(int64_t step);

/// What one directory holds of one step.
struct StepInventory {
  int64_t step = 0;
  std::string manifest_sha256;  // the manifest's own digest: equal digests are equal manifests
  CheckpointManifest manifest;
  std::vector<std::string> present;  // shard files of the right size
  std::vector<std::string>
      damaged;          // shard files that should be here: missing, or of the wrong size
  std::string problem;  // why the manifest cannot be used; then only step is set

  bool sound() const { return problem.empty() && damaged.empty(); }
  bool operator==(const StepInventory&) const = default;
};

/// Newest first. Reads manifests and sizes, no tensors. A shard that is not here counts as damaged
/// if its domain left another shard here, or if there is only one domain; else another node has it.
std::vector<StepInventory> list_checkpoints(FileSystem& files, const std::string& directory);

class ChunkReader;

/// Bytes [first, first + bytes) of a stored tensor.
struct TensorPart {
  StoredTensor tensor;
  int64_t first = 0, bytes = 0;
};

/// Reads tensors out of a shard; no byte is handed out before the digest of its chunk was checked.
/// Keeps the last chunk (8 MiB), so reading in file order reads every byte once. One thread.
class ShardReader {
 public:
  /// Throws StorageError when the file cannot be opened, FormatError when its size is not the
  /// manifest's.
  ShardReader(FileSystem& files, std::string path, Shard shard);
  ~ShardReader();
  /// These parts are read from now on, in file order: the next of them is on its way while one is
  /// digested and copied. Takes 16 MiB.
  void announce(const std::vector<TensorPart>& parts);
  /// out [tensor.bytes]. Throws FormatError naming file and tensor if a chunk is damaged; then out
  /// holds nothing that may be used.
  void read(const StoredTensor& tensor, void* out) const;
  /// As read(), bytes [first, first + bytes) of the tensor only; out [bytes].
  void read_part(const StoredTensor& tensor, int64_t first, int64_t bytes, void* out) const;

 private:
  std::string path_;
  Shard shard_;
  std::unique_ptr<ChunkReader> chunks_;
};

/// Called with the bytes done so far and those to do in all.
using ByteProgress = std::function<void(int64_t done, int64_t total)>;

/// Everything read and verified, one message per problem: sizes, SHA-256, chunk digests, the
/// safetensors header against the manifest. Shards that other nodes hold are listed in elsewhere.
struct VerifyReport {
  std::vector<std::string> problems;
  int64_t files = 0, bytes = 0;
  std::vector<std::string> elsewhere;
};
VerifyReport verify_checkpoint(FileSystem& files, const std::string& directory,
                               const StepInventory& step, const ByteProgress& progress = {});

}  // namespace kente
