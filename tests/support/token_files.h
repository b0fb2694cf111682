#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/base/dtype.h"

namespace kente {

/// The id that token_files writes after each document.
inline constexpr int32_t kTestEndOfDocument = 0;
/// What its manifests claim: UTF-8 bytes of text per token, end-of-document tokens included.
inline constexpr int64_t kTestBytesPerToken = 3;

using Documents = std::vector<std::vector<int32_t>>;

/// Writes a source that csrc/data accepts: directory/<id>.manifest.json and the token files
/// <id>.train.{bin,idx}, <id>.validation.{bin,idx}, uint16 below 65,500 ids, else int32. Documents
/// come without their end-of-document token. Returns the digest that a recipe may name.
std::string write_source(const std::string& directory, const std::string& id,
                         const Documents& train, const Documents& validation, int64_t vocab_size);

/// count documents of length tokens in [1, vocab_size), a pure function of seed, in which the next
/// token can mostly be told from the last: a model's loss falls on them.
Documents learnable_documents(uint64_t seed, int64_t count, int64_t length, int64_t vocab_size);

/// Writes a source "test" that a small model can learn (each token mostly follows from the one
/// before) and returns its digest.
std::string write_learnable_source(const std::string& directory, int64_t vocab_size);

/// The bytes of an .idx for documents that already end in their end-of-document token.
std::string megatron_index(const Documents& documents, DType dtype);
/// The bytes of the .bin.
std::string megatron_tokens(const Documents& documents, DType dtype);

/// Overwrites or creates a file.
void write_bytes(const std::string& path, const std::string& bytes);
std::string read_bytes(const std::string& path);

}  // namespace kente
