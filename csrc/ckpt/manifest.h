#pragma once

#include <string>
#include <vector>

#include "csrc/ckpt/checkpoint.h"

namespace kente {

inline constexpr const char* kManifestFile = "MANIFEST.json";
/// Version 2 knows tensors stored in pieces; what has none is still written as version 1.
inline constexpr int64_t kManifestVersion = 2;
inline constexpr int64_t kPiecesVersion = 2;
inline constexpr int64_t kManifestCap = 64 << 20;  // bytes

/// Canonical JSON (sorted keys, no spaces, UTF-8, one newline at the end) whose key "digest" holds
/// the SHA-256 of the same text without that key. Throws InternalError for a manifest that
/// parse_manifest would refuse.
std::string to_json(const CheckpointManifest& manifest);

/// The digest to_json() writes: the manifest's identity.
std::string digest_of(const CheckpointManifest& manifest);

/// file is for messages. The text is hostile: only the very bytes to_json() would write are
/// accepted. Throws FormatError, also for a newer version, a tensor or a file named twice, tensors
/// that do not fill their file, a piece that is not within its tensor.
CheckpointManifest parse_manifest(const std::string& text, const std::string& file);

/// One shard on its way from the rank that wrote it to the one that writes the manifest.
std::string to_json(const Shard& shard);
Shard parse_shard(const std::string& text, const std::string& from);

/// One directory's inventory on its way to the other ranks.
std::string to_json(const std::vector<StepInventory>& inventory);
std::vector<StepInventory> parse_inventory(const std::string& text, const std::string& from);

}  // namespace kente
