#include "csrc/config/text_document.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/message.h>
#include <google/protobuf/text_format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>

#include "csrc/base/errors.h"
#include "csrc/config/parse.h"

namespace kente {
namespace {

namespace pb = google::protobuf;

constexpr int kRecursionLimit = 64;

// Errors quote the input, which may be anything: keep the message one short line of plain text.
std::string printable(const std::string& text) {
  constexpr size_t kMost = 400;
  constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const char c : text) {
    if (out.size() > kMost) return out + "...";
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out;
}

// ":line:column", counted from 1; protobuf counts from 0.
std::string place_of(int line, int column) {
  std::string place(1, ':');
  return place.append(std::to_string(line + 1)).append(1, ':').append(std::to_string(column + 1));
}

// The nth text between double quotes, from 0.
std::string quoted(const std::string& message, int nth) {
  size_t begin = 0;
  for (int i = 0; i <= 2 * nth; ++i) {
    begin = message.find('"', begin);
    if (begin == std::string::npos) return "";
    ++begin;
  }
  return message.substr(begin, message.find('"', begin) - begin);
}

std::string field_names(const pb::Descriptor& type) {
  std::string names;
  for (int i = 0; i < type.field_count(); ++i)
    names += (i == 0 ? "" : ", ") + type.field(i)->name();
  return names;
}

std::string value_names(const pb::EnumDescriptor& type) {
  std::string names;
  for (int i = 0; i < type.value_count(); ++i)
    names += (i == 0 ? "" : ", ") + type.value(i)->name();
  return names;
}

// The enum of the field of that name, in root or below; no name is used for two enums.
const pb::EnumDescriptor* enum_of_field(const pb::Descriptor& root, const std::string& name) {
  if (const pb::FieldDescriptor* field = root.FindFieldByName(name))
    if (field->enum_type()) return field->enum_type();
  for (int i = 0; i < root.field_count(); ++i)
    if (const pb::Descriptor* below = root.field(i)->message_type())
      if (const pb::EnumDescriptor* found = enum_of_field(*below, name)) return found;
  return nullptr;
}

/// Drops errors: for reading again what was read before.
class NoErrors : public pb::io::ErrorCollector {
 public:
  void AddError(int, pb::io::ColumnNumber, const std::string&) override {}
};

// The place of the last token that begins before line and column.
std::string place_before(const std::string& text, int line, int column) {
  pb::io::ArrayInputStream stream(text.data(), static_cast<int>(text.size()));
  NoErrors errors;
  pb::io::Tokenizer tokenizer(&stream, &errors);
  tokenizer.set_comment_style(pb::io::Tokenizer::SH_COMMENT_STYLE);
  std::string place = place_of(line, column);
  while (tokenizer.Next()) {
    const pb::io::Tokenizer::Token& token = tokenizer.current();
    if (token.line > line || (token.line == line && token.column >= column)) break;
    place = place_of(token.line, token.column);
  }
  return place;
}

/// Keeps the first error, in our words.
class FirstError : public pb::io::ErrorCollector {
 public:
  explicit FirstError(const pb::Descriptor& root) : root_(root) {}

  void AddError(int line, pb::io::ColumnNumber column, const std::string& message) override {
    if (text_) return;
    line_ = line;
    column_ = column;
    // Protobuf names the token after these.
    is_one_late_ = message.find("has no field named") != std::string::npos ||
                   message.find("Unknown enumeration value") == 0 ||
                   message.find("specified multiple times") != std::string::npos;
    text_ = printable(in_our_words(message));
  }
  void AddWarning(int, pb::io::ColumnNumber, const std::string&) override {}

  const std::optional<std::string>& text() const { return text_; }
  /// ":line:column" in the text, counted from 1; empty when not known.
  std::string place(const std::string& text) const {
    if (line_ < 0) return "";
    return is_one_late_ ? place_before(text, line_, column_) : place_of(line_, column_);
  }

 private:
  std::string in_our_words(const std::string& message) const {
    if (message.find("has no field named") != std::string::npos) {
      const pb::Descriptor* type = root_.file()->pool()->FindMessageTypeByName(quoted(message, 0));
      return "there is no field \"" + quoted(message, 1) + "\" here" +
             (type ? "; fields are: " + field_names(*type) : "");
    }
    if (message.rfind("Unknown enumeration value", 0) == 0) {
      const std::string field = quoted(message, 1);
      const pb::EnumDescriptor* type = enum_of_field(root_, field);
      return field + ": there is no value \"" + quoted(message, 0) + "\"" +
             (type ? "; write one of: " + value_names(*type) : "");
    }
    if (message.find("specified multiple times") != std::string::npos)
      return quoted(message, 0).append(" is given twice; keep one");
    const bool full_stop = !message.empty() && message.back() == '.';
    return message.substr(0, message.size() - full_stop) +
           "; write protobuf text: field: value, or field { ... }";
  }

  const pb::Descriptor& root_;
  int line_ = -1;
  int column_ = -1;
  bool is_one_late_ = false;
  std::optional<std::string> text_;
};

/// One step of a path: "source[1]" is {"source", 1}.
struct Segment {
  std::string name;
  std::optional<int> index;
};

// Empty when the path is malformed.
std::vector<Segment> split_path(const std::string& path) {
  std::vector<Segment> segments;
  size_t begin = 0;
  while (begin <= path.size()) {
    const size_t end = std::min(path.find('.', begin), path.size());
    std::string text = path.substr(begin, end - begin);
    Segment segment;
    if (const size_t open = text.find('['); open != std::string::npos) {
      int index = 0;
      const char* first = text.data() + open + 1;
      const char* last = text.data() + text.size();
      const auto [at, error] = std::from_chars(first, last, index);
      if (error != std::errc() || index < 0 || at + 1 != last || *at != ']') return {};
      segment.index = index;
      text.resize(open);
    }
    if (text.empty()) return {};
    segment.name = text;
    segments.push_back(segment);
    begin = end + 1;
  }
  return segments;
}

/// --set field=value.
class Override {
 public:
  explicit Override(const std::string& text) : text_(text), path_(text.substr(0, text.find('='))) {
    if (text.find('=') == std::string::npos) fail("write field=value");
    value_ = text.substr(path_.size() + 1);
  }

  const std::string& path() const { return path_; }

  void apply(pb::Message& root) const {
    const std::vector<Segment> segments = split_path(path_);
    if (segments.empty()) fail("the field is a path such as model.hidden_size");
    pb::Message* message = &root;
    for (size_t i = 0; i + 1 < segments.size(); ++i) message = &descend(*message, segments[i]);
    set(*message, segments.back());
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw UsageError("--set " + printable(text_) + ": " + what);
  }

  const pb::FieldDescriptor& find(const pb::Message& message, const Segment& segment) const {
    const pb::Descriptor& type = *message.GetDescriptor();
    const pb::FieldDescriptor* field = type.FindFieldByName(segment.name);
    if (!field)
      fail("there is no field \"" + printable(segment.name) +
           "\"; fields are: " + field_names(type));
    if (field->is_repeated() && !segment.index)
      fail(segment.name + " is a list; name an element, as in " + segment.name + "[0]");
    if (!field->is_repeated() && segment.index) fail(segment.name + " is not a list");
    return *field;
  }

  pb::Message& descend(pb::Message& message, const Segment& segment) const {
    const pb::FieldDescriptor& field = find(message, segment);
    const pb::Reflection& reflection = *message.GetReflection();
    if (!field.message_type()) fail(segment.name + " has no fields of its own");
    if (!field.is_repeated()) return *reflection.MutableMessage(&message, &field);
    const int size = reflection.FieldSize(message, &field);
    if (*segment.index > size) fail(segment.name + " has " + std::to_string(size) + " elements");
    if (*segment.index == size) return *reflection.AddMessage(&message, &field);
    return *reflection.MutableRepeatedMessage(&message, &field, *segment.index);
  }

  void set(pb::Message& message, const Segment& segment) const {
    const pb::FieldDescriptor& field = find(message, segment);
    if (field.message_type())
      fail(segment.name +
           " is a group; name one of its fields: " + field_names(*field.message_type()));
    const bool plain_text = field.cpp_type() == pb::FieldDescriptor::CPPTYPE_STRING &&
                            (value_.empty() || value_.front() != '"');
    if (plain_text) {
      message.GetReflection()->SetString(&message, &field, value_);
      return;
    }
    message.GetReflection()->ClearField(&message, &field);
    FirstError error(*message.GetDescriptor());
    pb::TextFormat::Parser parser;
    parser.RecordErrorsTo(&error);
    parser.SetRecursionLimit(kRecursionLimit);
    if (!parser.ParseFieldValueFromString(value_, &field, &message))
      fail(error.text().value_or(segment.name + " takes one " + field.cpp_type_name()));
  }

  std::string text_;
  std::string path_;
  std::string value_;
};

void check_version(const pb::Message& message, int newest, const std::string& where) {
  const pb::FieldDescriptor* field = message.GetDescriptor()->FindFieldByName("version");
  const pb::Reflection& reflection = *message.GetReflection();
  if (!reflection.HasField(message, field)) return;
  const int version = reflection.GetInt32(message, field);
  if (version < 1 || version > newest)
    throw UsageError(where + ": version " + std::to_string(version) +
                     " is not known; this program reads 1 to " + std::to_string(newest) +
                     ": take the kente that wrote the file");
}

}  // namespace

struct TextDocument::State {
  std::string file;
  const pb::Descriptor* root = nullptr;
  pb::TextFormat::ParseInfoTree tree;
  std::map<std::string, std::string> overridden;  // path -> "--set path=value"
};

TextDocument::TextDocument(const std::string& text, const std::string& file,
                           const std::vector<std::string>& overrides, int version,
                           pb::Message& message)
    : state_(std::make_unique<State>()) {
  state_->file = file;
  state_->root = message.GetDescriptor();
  if (text.size() > static_cast<size_t>(kMaxConfigBytes))
    throw UsageError(file + ": " + std::to_string(text.size()) + " bytes; at most " +
                     std::to_string(kMaxConfigBytes) + " are read");
  FirstError error(*state_->root);
  pb::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  parser.SetRecursionLimit(kRecursionLimit);
  parser.WriteLocationsTo(&state_->tree);
  const bool parsed = parser.ParseFromString(text, &message);
  // First, so that a newer file is called newer and not wrong.
  check_version(message, version, parsed ? where("version") : file);
  if (!parsed)
    throw UsageError(file + error.place(text) + ": " +
                     error.text().value_or("not protobuf text; correct the file"));
  for (const std::string& text_of_override : overrides) {
    const Override override_(text_of_override);
    override_.apply(message);
    state_->overridden[override_.path()] = "--set " + printable(text_of_override);
  }
  check_version(message, version, where("version"));
}

TextDocument::~TextDocument() = default;

std::string TextDocument::where(const std::string& path) const {
  if (const auto it = state_->overridden.find(path); it != state_->overridden.end())
    return it->second;
  const pb::TextFormat::ParseInfoTree* tree = &state_->tree;
  const pb::Descriptor* type = state_->root;
  std::string place;
  for (const Segment& segment : split_path(path)) {
    const pb::FieldDescriptor* field = type ? type->FindFieldByName(segment.name) : nullptr;
    if (!tree || !field) break;
    const int index = field->is_repeated() ? segment.index.value_or(0) : -1;
    const pb::TextFormat::ParseLocation at = tree->GetLocation(field, index);
    if (at.line < 0) break;
    place = place_of(at.line, at.column);
    type = field->message_type();
    tree = type ? tree->GetTreeForNested(field, index) : nullptr;
  }
  return state_->file + place;
}

void TextDocument::fail(const std::string& path, const std::string& what) const {
  throw UsageError(where(path) + ": " + what);
}

void TextDocument::require(const pb::Message& message, const std::string& prefix,
                           const std::vector<std::string_view>& fields) const {
  for (const std::string_view name : fields) {
    const std::string text(name);
    const pb::FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(text);
    if (!message.GetReflection()->HasField(message, field))
      fail(prefix + text, prefix + text + " is missing; add it");
  }
}

void TextDocument::check_integer(const std::string& path, int64_t value, int64_t least,
                                 int64_t most) const {
  if (value < least || value > most)
    fail(path, path + " is " + std::to_string(value) + "; allowed: " + std::to_string(least) +
                   " to " + std::to_string(most));
}

void TextDocument::check_real(const std::string& path, double value, Real allowed) const {
  const bool fits = std::isfinite(value) && std::abs(value) <= 1e300 &&
                    (allowed == Real::kPositive ? value > 0 : value >= 0) &&
                    (allowed != Real::kFraction || value <= 1) &&
                    (allowed != Real::kBelowOne || value < 1);
  if (fits) return;
  constexpr std::array<const char*, 4> kAllowed = {"above 0, finite", "0 or above, finite",
                                                   "0 to 1", "0 or above, below 1"};
  fail(path,
       path + " is " + shortest(value) + "; allowed: " + kAllowed[static_cast<size_t>(allowed)]);
}

std::string shortest(double value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

std::string element(const std::string& path, int64_t index) {
  return path + "[" + std::to_string(index) + "]";
}

}  // namespace kente
