#include "csrc/ckpt/manifest.h"

#include <algorithm>
#include <array>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "csrc/base/errors.h"
#include "csrc/base/hash.h"
#include "csrc/base/strict_json.h"
#include "csrc/ckpt/json_reader.h"
#include "csrc/ckpt/safetensors.h"

namespace kente {
namespace {

using Json = nlohmann::json;

constexpr int64_t kDomainCap = 1 << 20;
constexpr size_t kHexDigest = 64;
// "digest" is the first of the sorted keys, so the digest can be checked before any JSON is parsed.
constexpr std::string_view kDigestHead = "{\"digest\":\"";

bool is_hex(std::string_view text, size_t digits) {
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

bool is_plain_file_name(const std::string& name) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !name.empty() && name.size() <= 200 && name[0] != '.' && name.ends_with(".safetensors") &&
         name.find_first_not_of(kAllowed) == std::string::npos;
}

DType parse_dtype(const JsonReader& reader) {
  constexpr std::array kAll = {DType::kU8,  DType::kU16,  DType::kI32, DType::kI64,
                               DType::kF16, DType::kBF16, DType::kF32, DType::kF64};
  const std::string name = reader.text();
  for (const DType dtype : kAll)
    if (name == name_of(dtype)) return dtype;
  reader.fail("unknown dtype \"" + name.substr(0, 20) + "\"");
}

Json shard_json(const Shard& shard) {
  Json chunks = Json::array(), tensors = Json::array();
  for (const uint64_t digest : shard.chunk_xxh3) chunks.push_back(hex64(digest));
  for (const StoredTensor& tensor : shard.tensors) {
    tensors.push_back({{"name", tensor.name},
                       {"dtype", name_of(tensor.dtype)},
                       {"shape", tensor.shape},
                       {"offset", tensor.offset},
                       {"bytes", tensor.bytes}});
    if (tensor.piece_of)
      tensors.back()["piece_of"] = {{"name", tensor.piece_of->name},
                                    {"shape", tensor.piece_of->shape},
                                    {"first", tensor.piece_of->first}};
  }
  return {{"file", shard.file},     {"domain", shard.domain}, {"bytes", shard.bytes},
          {"sha256", shard.sha256}, {"chunk_xxh3", chunks},   {"tensors", tensors}};
}

std::vector<int64_t> read_shape(const JsonReader& reader) {
  std::vector<int64_t> shape;
  for (const JsonReader& extent : reader.items()) shape.push_back(extent.integer());
  return shape;
}

/// Of a stored tensor that is a piece; it must lie within the whole.
PieceOf read_piece_of(const JsonReader& reader, const StoredTensor& piece) {
  reader.expect_keys({"name", "shape", "first"});
  PieceOf of{.name = reader.at("name").text(),
             .shape = read_shape(reader.at("shape")),
             .first = reader.at("first").integer()};
  const std::optional<int64_t> whole = checked_bytes(of.shape, piece.dtype);
  const std::optional<int64_t> end =
      checked_add(of.first, piece.shape.size() == 1 ? piece.shape.front() : 0);
  if (!whole || !end || *end == of.first || *end > *whole / size_of(piece.dtype))
    reader.fail("elements from " + std::to_string(of.first) + " on are no piece of " + of.name);
  return of;
}

StoredTensor read_tensor(const JsonReader& reader) {
  const auto members = reader.members();
  const bool is_piece = std::any_of(members.begin(), members.end(),
                                    [](const auto& member) { return member.first == "piece_of"; });
  if (is_piece) {
    reader.expect_keys({"name", "dtype", "shape", "offset", "bytes", "piece_of"});
  } else {
    reader.expect_keys({"name", "dtype", "shape", "offset", "bytes"});
  }
  StoredTensor tensor;
  tensor.name = reader.at("name").text();
  tensor.dtype = parse_dtype(reader.at("dtype"));
  tensor.shape = read_shape(reader.at("shape"));
  tensor.offset = reader.at("offset").integer();
  tensor.bytes = reader.at("bytes").integer();
  if (checked_bytes(tensor.shape, tensor.dtype) != tensor.bytes)
    reader.fail("shape and dtype do not make " + std::to_string(tensor.bytes) + " bytes");
  if (is_piece) tensor.piece_of = read_piece_of(reader.at("piece_of"), tensor);
  return tensor;
}

/// Tensors must fill the file from the end of its header to its end, in file order.
void check_tiling(const Shard& shard, const JsonReader& reader) {
  int64_t at = shard.tensors.empty() ? shard.bytes : shard.tensors.front().offset;
  if (at < 8) reader.fail("no room for a safetensors header");
  for (const StoredTensor& tensor : shard.tensors) {
    const std::optional<int64_t> end = checked_add(tensor.offset, tensor.bytes);
    if (tensor.offset != at || !end || *end > shard.bytes)
      reader.fail("tensor " + tensor.name + " leaves a hole, overlaps or ends beyond the file");
    at = *end;
  }
  if (at != shard.bytes) reader.fail("bytes after the last tensor");
}

Shard read_shard(const JsonReader& reader) {
  reader.expect_keys({"file", "domain", "bytes", "sha256", "chunk_xxh3", "tensors"});
  Shard shard;
  shard.file = reader.at("file").text();
  if (!is_plain_file_name(shard.file))
    reader.fail("\"" + shard.file.substr(0, 80) + "\" is not a plain *.safetensors name");
  shard.domain = reader.at("domain").integer();
  if (shard.domain >= kDomainCap) reader.fail("domain " + std::to_string(shard.domain));
  shard.bytes = reader.at("bytes").integer();
  shard.sha256 = reader.at("sha256").text();
  if (!is_hex(shard.sha256, kHexDigest)) reader.fail("sha256 is not 64 hex digits");
  const std::vector<JsonReader> chunks = reader.at("chunk_xxh3").items();
  const int64_t wanted =
      shard.bytes / kDigestChunk + static_cast<int64_t>(shard.bytes % kDigestChunk != 0);
  if (static_cast<int64_t>(chunks.size()) != wanted)
    reader.fail(std::to_string(chunks.size()) + " chunk digests, want " + std::to_string(wanted));
  for (const JsonReader& chunk : chunks) {
    const std::string digits = chunk.text();
    if (!is_hex(digits, 16)) chunk.fail("not 16 hex digits");
    shard.chunk_xxh3.push_back(std::stoull(digits, nullptr, 16));
  }
  for (const JsonReader& tensor : reader.at("tensors").items())
    shard.tensors.push_back(read_tensor(tensor));
  check_tiling(shard, reader);
  return shard;
}

Json manifest_json(const CheckpointManifest& manifest) {
  Json shards = Json::array();
  for (const Shard& shard : manifest.shards) shards.push_back(shard_json(shard));
  return {{"kente_checkpoint", manifest.version},
          {"step", manifest.step},
          {"run_id", manifest.run_id},
          {"recipe_sha256", manifest.recipe_sha256},
          {"samples", manifest.samples},
          {"state", Json(manifest.state)},
          {"shards", shards}};
}

/// The text without its digest, when the digest in it is right.
std::string check_digest(const std::string& text, const std::string& file) {
  const size_t body = kDigestHead.size() + kHexDigest + 2;  // behind the digest's quote and comma
  if (static_cast<int64_t>(text.size()) > kManifestCap)
    throw FormatError(file, -1, std::to_string(text.size()) + " bytes are too many for a manifest");
  if (text.size() < body + 2 || !text.starts_with(kDigestHead))
    throw FormatError(file, 0, "not a checkpoint manifest");
  const std::string_view digest = std::string_view(text).substr(kDigestHead.size(), kHexDigest);
  if (!is_hex(digest, kHexDigest) || text.compare(body - 2, 2, "\",") != 0)
    throw FormatError(file, static_cast<int64_t>(kDigestHead.size()), "the digest is damaged");
  if (text.back() != '\n')
    throw FormatError(file, static_cast<int64_t>(text.size()) - 1, "the end is damaged");
  std::string bare =
      text.substr(body - 1, text.size() - body);  // from the comma, which becomes the brace
  bare[0] = '{';
  if (sha256_hex(bare) != digest)
    throw FormatError(file, 0, "the manifest is damaged: its bytes do not have its digest");
  return bare;
}

CheckpointManifest read_manifest_fields(const JsonReader& reader) {
  CheckpointManifest manifest;
  manifest.version = reader.at("kente_checkpoint").integer();
  if (manifest.version < 1 || manifest.version > kManifestVersion)
    reader.fail("checkpoint format version " + std::to_string(manifest.version) +
                ", this build reads versions 1 to " + std::to_string(kManifestVersion) +
                ": use a newer kente");
  reader.expect_keys(
      {"kente_checkpoint", "step", "run_id", "recipe_sha256", "samples", "state", "shards"});
  manifest.step = reader.at("step").integer();
  manifest.run_id = reader.at("run_id").text();
  manifest.recipe_sha256 = reader.at("recipe_sha256").text();
  manifest.samples = reader.at("samples").integer();
  for (const auto& [key, value] : reader.at("state").members())
    manifest.state.emplace(key, value.text());
  std::set<std::string> files, tensors;
  for (const JsonReader& entry : reader.at("shards").items()) {
    Shard shard = read_shard(entry);
    if (!files.insert(shard.file).second) entry.fail(shard.file + " is given twice");
    for (const StoredTensor& tensor : shard.tensors) {
      if (!tensors.insert(tensor.name).second)
        entry.fail("tensor " + tensor.name + " is given twice");
      if (tensor.piece_of && manifest.version < kPiecesVersion)
        entry.fail("tensor " + tensor.name + " is a piece, which version 1 does not know");
    }
    manifest.shards.push_back(std::move(shard));
  }
  return manifest;
}

std::string with_digest(const std::string& bare) {
  return std::string(kDigestHead) + sha256_hex(bare) + "\"," + bare.substr(1) + "\n";
}

}  // namespace

void CheckpointManifest::add(Shard shard) {
  for (const StoredTensor& tensor : shard.tensors)
    if (tensor.piece_of) version = std::max(version, kPiecesVersion);
  shards.push_back(std::move(shard));
}

int64_t CheckpointManifest::domains() const {
  int64_t count = 1;
  for (const Shard& shard : shards) count = std::max(count, shard.domain + 1);
  return count;
}

std::string to_json(const CheckpointManifest& manifest) {
  std::string text = with_digest(manifest_json(manifest).dump());
  try {
    parse_manifest(text, kManifestFile);
  } catch (const FormatError& refusal) {
    throw InternalError(std::string("a manifest nobody could read: ") + refusal.what());
  }
  return text;
}

std::string digest_of(const CheckpointManifest& manifest) {
  return sha256_hex(manifest_json(manifest).dump());
}

CheckpointManifest parse_manifest(const std::string& text, const std::string& file) {
  const std::string bare = check_digest(text, file);
  const Json json = parse_strict_json(bare, file, {.bytes = kManifestCap});
  CheckpointManifest manifest = read_manifest_fields(JsonReader(json, file, "manifest"));
  if (manifest_json(manifest).dump() != bare)
    throw FormatError(file, -1, "not written in the canonical form");
  return manifest;
}

std::string to_json(const Shard& shard) { return shard_json(shard).dump(); }

Shard parse_shard(const std::string& text, const std::string& from) {
  const Json json = parse_strict_json(text, from, {.bytes = kManifestCap});
  return read_shard(JsonReader(json, from, "shard"));
}

std::string to_json(const std::vector<StepInventory>& inventory) {
  Json steps = Json::array();
  for (const StepInventory& step : inventory)
    steps.push_back({{"step", step.step},
                     {"manifest", step.problem.empty() ? to_json(step.manifest) : ""},
                     {"present", step.present},
                     {"damaged", step.damaged},
                     {"problem", step.problem}});
  // A problem may quote a hostile file's bytes.
  return Json{{"kente_inventory", 1}, {"steps", steps}}.dump(-1, ' ', false,
                                                             Json::error_handler_t::replace);
}

std::vector<StepInventory> parse_inventory(const std::string& text, const std::string& from) {
  const Json json = parse_strict_json(text, from, {.bytes = int64_t{1} << 30});
  const JsonReader reader(json, from, "inventory");
  reader.expect_keys({"kente_inventory", "steps"});
  if (reader.at("kente_inventory").integer() != 1) reader.fail("an inventory of another version");
  std::vector<StepInventory> inventory;
  for (const JsonReader& entry : reader.at("steps").items()) {
    entry.expect_keys({"step", "manifest", "present", "damaged", "problem"});
    StepInventory step;
    step.step = entry.at("step").integer();
    step.problem = entry.at("problem").text();
    if (step.problem.empty()) {
      step.manifest = parse_manifest(entry.at("manifest").text(), from);
      step.manifest_sha256 = digest_of(step.manifest);
      if (step.manifest.step != step.step) entry.fail("its manifest is of another step");
    }
    for (const JsonReader& name : entry.at("present").items()) step.present.push_back(name.text());
    for (const JsonReader& name : entry.at("damaged").items()) step.damaged.push_back(name.text());
    inventory.push_back(std::move(step));
  }
  return inventory;
}

}  // namespace kente
