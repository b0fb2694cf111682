#include "csrc/data/verify.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/base/file_system.h"
#include "csrc/base/hash.h"

namespace kente {
namespace {

constexpr int64_t kMaxVerifiedBytes = 16 << 20;
// File systems tick in milliseconds to seconds: within a tick a second write leaves no trace.
constexpr int64_t kSettledMs = 2500;

void check_manifest(const Recipe& recipe, const SourceConfig& source,
                    const SourceManifest& manifest, const std::string& directory) {
  const std::string where = directory + "/" + source.id + ".manifest.json: ";
  if (!source.digest.empty() && source.digest != manifest.digest)
    throw UsageError(where + "source \"" + source.id + "\" has digest " + manifest.digest +
                     "; the recipe names " + source.digest +
                     ": get that text, or change data.source.digest");
  const std::string& tokenizer = recipe.data.tokenizer_digest;
  if (!tokenizer.empty() && tokenizer != manifest.tokenizer_sha256)
    throw UsageError(where + "made with tokenizer " + manifest.tokenizer_sha256 +
                     "; the recipe names " + tokenizer +
                     ": prepare the source with that tokenizer.json");
  if (manifest.vocab_size > recipe.model.vocab_size)
    throw UsageError(where + "vocab_size is " + std::to_string(manifest.vocab_size) +
                     "; allowed: at most the recipe's model.vocab_size, " +
                     std::to_string(recipe.model.vocab_size));
}

void check_same_tokenizer(const SourceManifest& first, const SourceManifest& other) {
  if (first.tokenizer_sha256 == other.tokenizer_sha256 &&
      first.end_of_document == other.end_of_document)
    return;
  throw UsageError("sources \"" + first.id + "\" and \"" + other.id +
                   "\" were made with unlike tokenizers: prepare both with one tokenizer.json");
}

void check_number(const std::string& file, const std::string& what, int64_t is, int64_t want) {
  if (is != want)
    throw FormatError(file, -1,
                      "it has " + std::to_string(is) + " " + what + " and its manifest says " +
                          std::to_string(want) + ": it was cut or changed; make the source again");
}

// Before anything is mapped, so that of a pair the file that was cut is named.
void check_size(const std::string& path, int64_t want) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0)
    throw UsageError(path + ": cannot open: " + std::strerror(errno) +
                     "; make the source again with kente data prepare");
  check_number(path, "bytes", status.st_size, want);
}

void check_digest(const std::string& file, const uint8_t* data, int64_t size,
                  const std::string& want) {
  const std::string is =
      sha256_hex({reinterpret_cast<const char*>(data), static_cast<size_t>(size)});
  if (is != want)
    throw FormatError(file, -1,
                      "SHA-256 is " + is + " and its manifest says " + want +
                          ": the file was changed; make the source again");
}

/// Token ids below the vocabulary, and the end-of-document token at the end of each document.
void check_tokens(const TokenStream& tokens, const SourceManifest& manifest) {
  constexpr int64_t kBlock = 1 << 16;
  std::vector<int32_t> block(static_cast<size_t>(kBlock));
  for (int64_t first = 0; first < tokens.tokens(); first += kBlock) {
    const int64_t count = std::min(kBlock, tokens.tokens() - first);
    tokens.copy(first, count, block.data());
    const auto end = block.begin() + count;
    // As unsigned, so that a negative id is large.
    const auto bad = std::find_if(block.begin(), end, [&](int32_t id) {
      return static_cast<uint32_t>(id) >= static_cast<uint32_t>(manifest.vocab_size);
    });
    if (bad != end)
      throw FormatError(tokens.bin_path(),
                        (first + (bad - block.begin())) * size_of(tokens.dtype()),
                        "token id " + std::to_string(*bad) + "; allowed: 0 to " +
                            std::to_string(manifest.vocab_size - 1));
  }
  for (int64_t document = 0; document < tokens.documents(); ++document) {
    const int64_t last = tokens.document_end(document) - 1;
    int32_t id = -1;
    tokens.copy(last, 1, &id);
    if (id != manifest.end_of_document)
      throw FormatError(tokens.bin_path(), last * size_of(tokens.dtype()),
                        "document " + std::to_string(document) + " ends with token " +
                            std::to_string(id) + "; want end_of_document " +
                            std::to_string(manifest.end_of_document));
  }
}

// What a file is known by as long as nobody writes to it.
std::string file_state(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0)
    throw StorageError(path + ": cannot stat: " + std::strerror(errno));
  std::string text = path.substr(path.rfind('/') + 1);
  for (const int64_t part :
       {static_cast<int64_t>(status.st_dev), static_cast<int64_t>(status.st_ino),
        int64_t{status.st_size}, int64_t{status.st_mtim.tv_sec}, int64_t{status.st_mtim.tv_nsec},
        int64_t{status.st_ctim.tv_sec}, int64_t{status.st_ctim.tv_nsec}})
    text.append(1, ' ').append(std::to_string(part));
  return text.append(1, '\n');
}

// One line of .verified: a digest, so that a torn line can only be a line that matches nothing.
std::string verified_line(const TokenStream& tokens, const TokenFile& file,
                          const SourceManifest& manifest) {
  return sha256_hex("1\n" + file_state(tokens.bin_path()) + file_state(tokens.idx_path()) +
                    file.bin_sha256 + "\n" + file.idx_sha256 + "\n" +
                    std::to_string(manifest.vocab_size) + "\n" +
                    std::to_string(manifest.end_of_document) + "\n") +
         "\n";
}

// Whether any later write will show in the file's times. Only decides about remembering: a clock
// that is wrong costs a verification.
bool is_settled(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return false;
  const int64_t written_ms =
      int64_t{status.st_mtim.tv_sec} * 1000 + status.st_mtim.tv_nsec / 1'000'000;
  return written_ms <= wall_clock_ms() - kSettledMs;
}

bool is_remembered(const std::string& path, const std::string& line) {
  try {
    const std::string known = read_text_file(path, kMaxVerifiedBytes);
    return known.rfind(line, 0) == 0 || known.find("\n" + line) != std::string::npos;
  } catch (const Error&) {
    return false;  // no memory of it, or none that can be read: verify again
  }
}

void remember(const std::string& path, const std::string& line) {
  try {
    // In front too: a line after a torn one must still begin a line. One write, so that ranks that
    // verify at the same time do not mix theirs.
    const std::string text = "\n" + line;
    auto file = posix_file_system()->open_append(path);
    file->append(text.data(), static_cast<int64_t>(text.size()));
    file->close();
  } catch (const StorageError&) {
    return;  // data may lie on a medium we cannot write: the next run verifies again
  }
}

void verify(const TokenStream& tokens, const TokenFile& file, const SourceManifest& manifest,
            const std::string& directory) {
  check_number(tokens.bin_path(), "bytes", tokens.bin_bytes(), file.bin_bytes);
  check_number(tokens.idx_path(), "bytes", tokens.idx_bytes(), file.idx_bytes);
  check_number(tokens.bin_path(), "tokens", tokens.tokens(), file.tokens);
  check_number(tokens.idx_path(), "documents", tokens.documents(), file.documents);
  const std::string memory = directory + "/.verified";
  const std::string line = verified_line(tokens, file, manifest);
  if (is_remembered(memory, line)) return;
  check_digest(tokens.idx_path(), tokens.idx_data(), tokens.idx_bytes(), file.idx_sha256);
  check_digest(tokens.bin_path(), tokens.bin_data(), tokens.bin_bytes(), file.bin_sha256);
  check_tokens(tokens, manifest);
  if (verified_line(tokens, file, manifest) != line)
    throw FormatError(tokens.bin_path(), -1, "it was changed while it was verified; start again");
  if (is_settled(tokens.bin_path()) && is_settled(tokens.idx_path())) remember(memory, line);
}

}  // namespace

std::vector<OpenSource> open_sources(const Recipe& recipe, const std::string& directory,
                                     SourcePart part) {
  std::vector<OpenSource> sources;
  for (const SourceConfig& source : recipe.data.sources) {
    SourceManifest manifest = read_manifest(directory, source.id);
    check_manifest(recipe, source, manifest, directory);
    if (!sources.empty()) check_same_tokenizer(sources.front().manifest, manifest);
    const TokenFile& file = part == SourcePart::kTrain ? manifest.train : manifest.validation;
    check_size(directory + "/" + file.name + ".bin", file.bin_bytes);
    check_size(directory + "/" + file.name + ".idx", file.idx_bytes);
    TokenStream tokens(directory + "/" + file.name);
    verify(tokens, file, manifest, directory);
    sources.push_back({std::move(manifest), std::move(tokens)});
  }
  return sources;
}

}  // namespace kente
