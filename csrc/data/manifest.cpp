#include "csrc/data/manifest.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "csrc/base/errors.h"
#include "csrc/base/file_system.h"
#include "csrc/base/hash.h"
#include "csrc/base/strict_json.h"
#include "csrc/data/canonical_json.h"

namespace kente {
namespace {

using nlohmann::json;

constexpr int64_t kManifestVersion = 1;
constexpr int64_t kMaxManifestBytes = 1 << 20;
constexpr int64_t kMaxBytes = int64_t{1} << 50;

/// Typed access to a JSON object's members; every failure names file and field.
class Fields {
 public:
  Fields(const json& object, const std::string& file, const std::string& prefix)
      : object_(object), file_(file), prefix_(prefix) {
    if (!object.is_object()) fail(prefix.empty() ? "the file" : prefix, "is not an object");
  }

  const json& at(const std::string& name) const {
    const auto it = object_.find(name);
    if (it == object_.end()) fail(prefix_ + name, "is missing");
    return *it;
  }
  std::string text(const std::string& name) const {
    const json& value = at(name);
    if (!value.is_string()) fail(prefix_ + name, "is not a text");
    return value.get<std::string>();
  }
  std::string digest(const std::string& name) const {
    std::string value = text(name);
    const auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    if (value.size() != 64 || !std::all_of(value.begin(), value.end(), hex))
      fail(prefix_ + name, "is not 64 lower-case hex digits");
    return value;
  }
  int64_t integer(const std::string& name, int64_t least, int64_t most) const {
    const json& value = at(name);
    const bool fits = value.is_number_integer() &&
                      (!value.is_number_unsigned() ||
                       value.get<uint64_t>() <= uint64_t{std::numeric_limits<int64_t>::max()});
    if (!fits) fail(prefix_ + name, "is not an integer");
    const auto number = value.get<int64_t>();
    if (number < least || number > most)
      fail(prefix_ + name, "is " + std::to_string(number) + "; allowed: " + std::to_string(least) +
                               " to " + std::to_string(most));
    return number;
  }
  /// A file name: it becomes part of a path.
  std::string file_name(const std::string& name) const {
    std::string value = text(name);
    const auto allowed = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
             c == '.' || c == '_' || c == '-';
    };
    if (value.empty() || value.size() > 200 || value.front() == '.' ||
        !std::all_of(value.begin(), value.end(), allowed))
      fail(prefix_ + name, "is not a file name of a-z A-Z 0-9 . _ -");
    return value;
  }
  [[noreturn]] void fail(const std::string& field, const std::string& what) const {
    throw FormatError(file_, -1,
                      field + " " + what + "; make the source again with kente data prepare");
  }

 private:
  const json& object_;
  const std::string& file_;
  std::string prefix_;
};

TokenFile token_file(const json& object, const std::string& file, const std::string& prefix) {
  const Fields fields(object, file, prefix);
  TokenFile out;
  out.name = fields.file_name("name");
  out.bin_bytes = fields.integer("bin_bytes", 0, kMaxBytes);
  out.idx_bytes = fields.integer("idx_bytes", 0, kMaxBytes);
  out.bin_sha256 = fields.digest("bin_sha256");
  out.idx_sha256 = fields.digest("idx_sha256");
  out.documents = fields.integer("documents", 0, kMaxBytes);
  out.tokens = fields.integer("tokens", 0, kMaxBytes);
  out.text_bytes = fields.integer("text_bytes", 0, kMaxBytes);
  return out;
}

double bits_per_byte(const Fields& fields) {
  const json& value = fields.at("byte_trigram_bits_per_byte");
  if (value.is_null()) return 0;
  if (!value.is_number()) fields.fail("byte_trigram_bits_per_byte", "is not a number or null");
  const auto number = value.get<double>();
  if (!std::isfinite(number) || number < 0 || number > 8)
    fields.fail("byte_trigram_bits_per_byte", "is not within 0 and 8");
  return number;
}

std::string own_digest(json object) {
  object.erase("digest");
  return sha256_hex(canonical_json(object));
}

}  // namespace

SourceManifest read_manifest(const std::string& directory, const std::string& id) {
  const std::string path = directory + "/" + id + ".manifest.json";
  if (!posix_file_system()->exists(path))
    throw UsageError(path + ": there is no source \"" + id +
                     "\" here; make it with kente data prepare, or say --data DIR");
  const json object = parse_strict_json(read_text_file(path, kMaxManifestBytes), path,
                                        {.values_are = JsonValues::kAny});
  const Fields fields(object, path, "");
  const int64_t version = fields.integer("kente_source", 1, std::numeric_limits<int64_t>::max());
  if (version > kManifestVersion)
    throw FormatError(path, -1,
                      "kente_source version " + std::to_string(version) +
                          "; this program reads 1: take the kente that made it");
  SourceManifest out;
  out.id = fields.file_name("id");
  if (out.id != id) fields.fail("id", "is \"" + out.id + "\", not the file's");
  out.title = fields.text("title");
  out.licence = fields.text("licence");
  out.language = fields.text("language");
  out.lab = fields.text("lab");
  out.origin = fields.text("origin");
  out.vocab_size = fields.integer("vocab_size", 2, int64_t{1} << 24);
  out.end_of_document = fields.integer("end_of_document", 0, out.vocab_size - 1);
  out.tokenizer_sha256 = fields.digest("tokenizer_sha256");
  out.train = token_file(fields.at("train"), path, "train.");
  out.validation = token_file(fields.at("validation"), path, "validation.");
  out.byte_trigram_bits_per_byte = bits_per_byte(fields);
  out.digest = fields.digest("digest");
  const std::string real = own_digest(object);
  if (real != out.digest)
    throw FormatError(path, -1,
                      "the manifest says digest " + out.digest + " and has " + real +
                          ": it was changed; make the source again");
  return out;
}

Recipe with_source_digests(const Recipe& recipe, const std::string& directory) {
  Recipe out = recipe;
  for (SourceConfig& source : out.data.sources)
    if (source.digest.empty()) source.digest = read_manifest(directory, source.id).digest;
  return out;
}

}  // namespace kente
