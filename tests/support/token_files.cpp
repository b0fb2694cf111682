#include "tests/support/token_files.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "csrc/base/errors.h"
#include "csrc/base/hash.h"
#include "csrc/base/rng.h"

namespace kente {
namespace {

template <typename T>
void put(std::string& bytes, T value) {
  char raw[sizeof(T)];
  std::memcpy(raw, &value, sizeof(T));
  bytes.append(raw, sizeof(T));
}

Documents with_ends(Documents documents) {
  for (auto& document : documents) document.push_back(kTestEndOfDocument);
  return documents;
}

// Keys in sorted order and no spaces: already the canonical form that the digest is taken over.
std::string write_token_file(const std::string& directory, const std::string& name,
                             const Documents& documents, DType dtype) {
  const std::string bin = megatron_tokens(documents, dtype);
  const std::string idx = megatron_index(documents, dtype);
  write_bytes(directory + "/" + name + ".bin", bin);
  write_bytes(directory + "/" + name + ".idx", idx);
  const int64_t tokens = static_cast<int64_t>(bin.size()) / size_of(dtype);
  return "{\"bin_bytes\":" + std::to_string(bin.size()) + ",\"bin_sha256\":\"" + sha256_hex(bin) +
         "\",\"documents\":" + std::to_string(documents.size()) +
         ",\"idx_bytes\":" + std::to_string(idx.size()) + ",\"idx_sha256\":\"" + sha256_hex(idx) +
         "\",\"name\":\"" + name +
         "\",\"text_bytes\":" + std::to_string(tokens * kTestBytesPerToken) +
         ",\"tokens\":" + std::to_string(tokens) + "}";
}

}  // namespace

void write_bytes(const std::string& path, const std::string& bytes) {
  // Removed first: some file systems write a truncated file out at once, and tests damage many.
  std::filesystem::remove(path);
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  out.close();
  if (!out) throw StorageError(path + ": cannot write");
}

std::string read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw StorageError(path + ": cannot read");
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

std::string megatron_tokens(const Documents& documents, DType dtype) {
  std::string bytes;
  for (const auto& document : documents)
    for (const int32_t token : document) {
      if (dtype == DType::kU16) {
        put(bytes, static_cast<uint16_t>(token));
      } else {
        put(bytes, token);
      }
    }
  return bytes;
}

std::string megatron_index(const Documents& documents, DType dtype) {
  std::string bytes("MMIDIDX\0\0", 9);
  put(bytes, uint64_t{1});
  put(bytes, static_cast<uint8_t>(dtype == DType::kU16 ? 8 : 4));
  put(bytes, static_cast<uint64_t>(documents.size()));
  put(bytes, static_cast<uint64_t>(documents.size() + 1));
  for (const auto& document : documents) put(bytes, static_cast<int32_t>(document.size()));
  int64_t pointer = 0;
  for (const auto& document : documents) {
    put(bytes, pointer);
    pointer += static_cast<int64_t>(document.size()) * size_of(dtype);
  }
  for (size_t i = 0; i <= documents.size(); ++i) put(bytes, static_cast<int64_t>(i));
  return bytes;
}

std::string write_source(const std::string& directory, const std::string& id,
                         const Documents& train, const Documents& validation, int64_t vocab_size) {
  const DType dtype = vocab_size < 65500 ? DType::kU16 : DType::kI32;
  const std::string train_json =
      write_token_file(directory, id + ".train", with_ends(train), dtype);
  const std::string validation_json =
      write_token_file(directory, id + ".validation", with_ends(validation), dtype);
  const std::string head = "{\"byte_trigram_bits_per_byte\":null,";
  const std::string tail =
      "\"end_of_document\":" + std::to_string(kTestEndOfDocument) + ",\"id\":\"" + id +
      "\",\"kente_source\":1,\"lab\":\"test\",\"language\":\"en\",\"licence\":\"CC0-1.0\","
      "\"origin\":\"made by a test\",\"title\":\"Test text\",\"tokenizer_sha256\":\"" +
      std::string(64, '0') + "\",\"train\":" + train_json + ",\"validation\":" + validation_json +
      ",\"vocab_size\":" + std::to_string(vocab_size) + "}";
  std::string digest = sha256_hex(head + tail);
  write_bytes(directory + "/" + id + ".manifest.json",
              head + "\"digest\":\"" + digest + "\"," + tail);
  return digest;
}

Documents learnable_documents(uint64_t seed, int64_t count, int64_t length, int64_t vocab_size) {
  Documents documents;
  uint64_t draw = 0;
  const auto next = [&] { return random_bits(seed, RngUse::kTest, 1, draw++); };
  const auto ids = static_cast<uint64_t>(vocab_size - 1);
  for (int64_t d = 0; d < count; ++d) {
    std::vector<int32_t> document;
    uint64_t token = next() % ids;
    for (int64_t i = 0; i < length; ++i) {
      document.push_back(static_cast<int32_t>(token) + 1);
      // Seven times in eight the successor is a fixed function of the token.
      token = next() % 8 == 0 ? next() % ids : (token * 5 + 3) % ids;
    }
    documents.push_back(std::move(document));
  }
  return documents;
}

std::string write_learnable_source(const std::string& directory, int64_t vocab_size) {
  return write_source(directory, "test", learnable_documents(1, 200, 40, vocab_size),
                      learnable_documents(2, 12, 40, vocab_size), vocab_size);
}

}  // namespace kente
