#include "csrc/ckpt/safetensors.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "csrc/base/errors.h"
#include "csrc/base/strict_json.h"
#include "csrc/ckpt/json_reader.h"

namespace kente {
namespace {

constexpr size_t kRankCap = 16;
constexpr size_t kNameCap = 1024;
constexpr int64_t kLengthBytes = 8;

struct DtypeCode {
  DType dtype;
  const char* code;
};
constexpr std::array<DtypeCode, 8> kDtypeCodes = {{{DType::kU8, "U8"},
                                                   {DType::kU16, "U16"},
                                                   {DType::kI32, "I32"},
                                                   {DType::kI64, "I64"},
                                                   {DType::kF16, "F16"},
                                                   {DType::kBF16, "BF16"},
                                                   {DType::kF32, "F32"},
                                                   {DType::kF64, "F64"}}};

const char* code_of(DType dtype) {
  for (const DtypeCode& entry : kDtypeCodes)
    if (entry.dtype == dtype) return entry.code;
  throw InternalError("a dtype without a safetensors code");
}

StoredTensor parse_tensor(const std::string& name, const JsonReader& entry, int64_t data_begin) {
  if (name.empty() || name.size() > kNameCap) entry.fail("a name of 1 to 1024 bytes is wanted");
  entry.expect_keys({"dtype", "shape", "data_offsets"});
  StoredTensor tensor;
  tensor.name = name;
  const std::string code = entry.at("dtype").text();
  const auto known = std::find_if(kDtypeCodes.begin(), kDtypeCodes.end(),
                                  [&](const DtypeCode& c) { return code == c.code; });
  if (known == kDtypeCodes.end()) entry.fail("unknown dtype \"" + code.substr(0, 20) + "\"");
  tensor.dtype = known->dtype;
  for (const JsonReader& extent : entry.at("shape").items()) {
    if (tensor.shape.size() == kRankCap) entry.fail("more than 16 dimensions");
    tensor.shape.push_back(extent.integer());
  }
  const std::vector<JsonReader> offsets = entry.at("data_offsets").items();
  if (offsets.size() != 2) entry.fail("data_offsets wants two numbers");
  const int64_t begin = offsets[0].integer(), end = offsets[1].integer();
  if (end < begin) entry.fail("data_offsets end before they begin");
  const std::optional<int64_t> bytes = checked_bytes(tensor.shape, tensor.dtype);
  if (!bytes || *bytes != end - begin)
    entry.fail("shape and dtype do not fill data_offsets, which hold " +
               std::to_string(end - begin) + " bytes");
  if (!checked_add(data_begin, end)) entry.fail("data_offsets are too large");
  tensor.offset = data_begin + begin;
  tensor.bytes = *bytes;
  return tensor;
}

}  // namespace

std::optional<int64_t> checked_add(int64_t a, int64_t b) {
  int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

std::optional<int64_t> checked_bytes(const std::vector<int64_t>& shape, DType dtype) {
  int64_t bytes = size_of(dtype);
  for (const int64_t extent : shape)
    if (extent < 0 || __builtin_mul_overflow(bytes, extent, &bytes)) return std::nullopt;
  return bytes;
}

SafetensorsLayout lay_out_safetensors(const std::vector<NamedTensor>& tensors) {
  SafetensorsLayout layout;
  layout.order.resize(tensors.size());
  std::iota(layout.order.begin(), layout.order.end(), size_t{0});
  std::stable_sort(layout.order.begin(), layout.order.end(), [&](size_t a, size_t b) {
    return size_of(tensors[a].data.dtype) > size_of(tensors[b].data.dtype);
  });
  nlohmann::json header = {{"__metadata__", {{"format", "pt"}, {"kente_shard", "1"}}}};
  int64_t at = 0;
  for (const size_t index : layout.order) {
    const NamedTensor& tensor = tensors[index];
    const std::optional<int64_t> bytes = checked_bytes(tensor.shape, tensor.data.dtype);
    KENTE_CHECK(bytes && *bytes == tensor.data.bytes(), tensor.name + ": shape and data differ");
    KENTE_CHECK(!tensor.name.empty() && tensor.name.size() <= kNameCap, "a tensor's name");
    KENTE_CHECK(tensor.shape.size() <= kRankCap, tensor.name + ": too many dimensions");
    KENTE_CHECK(!header.contains(tensor.name), tensor.name + " is given twice");
    header[tensor.name] = {{"dtype", code_of(tensor.data.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {at, at + *bytes}}};
    layout.tensors.push_back(
        {tensor.name, tensor.data.dtype, tensor.shape, at, *bytes, tensor.piece_of});
    at += *bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  KENTE_CHECK(static_cast<int64_t>(text.size()) <= kSafetensorsHeaderCap, "safetensors header");
  for (int byte = 0; byte < 8; ++byte)
    layout.header += static_cast<char>((text.size() >> (8 * byte)) & 0xff);
  layout.header += text;
  const auto begin = static_cast<int64_t>(layout.header.size());
  for (StoredTensor& tensor : layout.tensors) tensor.offset += begin;
  layout.bytes = begin + at;
  return layout;
}

int64_t safetensors_header_bytes(std::string_view prefix, int64_t file_bytes,
                                 const std::string& file) {
  if (file_bytes < kLengthBytes || static_cast<int64_t>(prefix.size()) < kLengthBytes)
    throw FormatError(file, 0, "too short for a safetensors file");
  uint64_t length = 0;
  for (size_t byte = 0; byte < 8; ++byte)
    length |= static_cast<uint64_t>(static_cast<unsigned char>(prefix[byte])) << (8 * byte);
  if (length > static_cast<uint64_t>(kSafetensorsHeaderCap))
    throw FormatError(file, 0,
                      "a header of " + std::to_string(length) + " bytes, at most " +
                          std::to_string(kSafetensorsHeaderCap) + " are read");
  if (static_cast<int64_t>(length) > file_bytes - kLengthBytes)
    throw FormatError(file, 0,
                      "a header of " + std::to_string(length) + " bytes in a file of " +
                          std::to_string(file_bytes));
  return kLengthBytes + static_cast<int64_t>(length);
}

std::vector<StoredTensor> parse_safetensors_header(std::string_view prefix, int64_t file_bytes,
                                                   const std::string& file) {
  const int64_t begin = safetensors_header_bytes(prefix, file_bytes, file);
  KENTE_CHECK(static_cast<int64_t>(prefix.size()) >= begin, "the whole header is needed");
  const std::string_view text =
      prefix.substr(kLengthBytes, static_cast<size_t>(begin - kLengthBytes));
  const nlohmann::json header = parse_strict_json(
      text, file, {.bytes = kSafetensorsHeaderCap, .depth = 4, .offset = kLengthBytes});
  std::vector<StoredTensor> tensors;
  for (const auto& [name, entry] : JsonReader(header, file, "header").members()) {
    if (name != "__metadata__") {
      tensors.push_back(parse_tensor(name, entry, begin));
      continue;
    }
    for (const auto& [key, value] : entry.members()) value.text();
  }
  std::sort(tensors.begin(), tensors.end(), [](const StoredTensor& a, const StoredTensor& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  });
  int64_t at = begin;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.offset != at)
      throw FormatError(file, at,
                        "tensor " + tensor.name + " begins at byte " +
                            std::to_string(tensor.offset) + ": a hole or an overlap");
    at += tensor.bytes;
    if (at > file_bytes)
      throw FormatError(file, tensor.offset, "tensor " + tensor.name + " ends beyond the file");
  }
  if (at != file_bytes)
    throw FormatError(file, at, std::to_string(file_bytes - at) + " bytes belong to no tensor");
  return tensors;
}

}  // namespace kente
