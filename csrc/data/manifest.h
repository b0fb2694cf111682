#pragma once

#include <cstdint>
#include <string>

#include "csrc/config/recipe.h"

namespace kente {

/// One token file pair (Megatron's .bin and .idx) of a source.
struct TokenFile {
  std::string name;  // "de.train" -> de.train.bin, de.train.idx
  int64_t bin_bytes = 0, idx_bytes = 0;
  std::string bin_sha256, idx_sha256;
  int64_t documents = 0, tokens = 0;
  int64_t text_bytes = 0;  // UTF-8 bytes of the text that was tokenized
};

/// DIR/<id>.manifest.json, written by `kente data prepare`, version 1:
/// {"kente_source": 1, "id", "title", "licence", "language", "lab", "origin", "vocab_size",
/// "end_of_document",
///  "tokenizer_sha256", "train": {TokenFile fields}, "validation": {...},
///  "byte_trigram_bits_per_byte": x|null, "digest": SHA-256 over canonical_json of this object
///  without "digest"}
/// Unknown fields are kept in the digest and ignored otherwise.
struct SourceManifest {
  std::string id, title, licence, language, lab, origin;
  int64_t vocab_size = 0;
  int64_t end_of_document = -1;  // token id after each document
  std::string tokenizer_sha256;
  TokenFile train, validation;
  double byte_trigram_bits_per_byte =
      0;  // held-back text under a byte trigram fitted on train; 0: not made
  std::string digest;
};

/// Reads and checks DIR/<id>.manifest.json, its own digest included. Throws UsageError (missing) or
/// FormatError (hostile or damaged).
SourceManifest read_manifest(const std::string& directory, const std::string& id);

/// The recipe with each empty source digest filled in from the manifests in directory: what a run
/// records, so that a resumed run gets the same text or an error. Throws as read_manifest.
Recipe with_source_digests(const Recipe& recipe, const std::string& directory);

}  // namespace kente
