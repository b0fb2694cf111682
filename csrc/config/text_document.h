#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace google::protobuf {
class Message;
}

namespace kente {

/// For messages.
inline std::string text(int64_t value) { return std::to_string(value); }

/// A protobuf text file, parsed into a message: knows where each field stands, for errors. Paths
/// are as in --set: "model.hidden_size", "data.source[0].weight".
class TextDocument {
 public:
  /// Parses text into message, then applies overrides. version is the newest this program reads.
  /// Throws UsageError "file:line:column: what; what to do".
  TextDocument(const std::string& text, const std::string& file,
               const std::vector<std::string>& overrides, int version,
               google::protobuf::Message& message);
  ~TextDocument();

  /// "file:line:column" of a field; of the nearest message around it where it is not written;
  /// "--set path=value" where it was overridden.
  std::string where(const std::string& path) const;
  /// Throws UsageError(where(path): what).
  [[noreturn]] void fail(const std::string& path, const std::string& what) const;

  /// fail() unless each of the fields is set in the message at path prefix ("" or "model.").
  void require(const google::protobuf::Message& message, const std::string& prefix,
               const std::vector<std::string_view>& fields) const;
  /// fail() unless least <= value <= most.
  void check_integer(const std::string& path, int64_t value, int64_t least, int64_t most) const;
  /// What a real number may be; never NaN, never infinite.
  enum class Real { kPositive, kNotNegative, kFraction, kBelowOne };
  void check_real(const std::string& path, double value, Real allowed) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The shortest decimal text that reads back as value.
std::string shortest(double value);

/// "replica[2]"
std::string element(const std::string& path, int64_t index);

}  // namespace kente
