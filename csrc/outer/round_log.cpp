#include "csrc/outer/round_log.h"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "csrc/base/errors.h"
#include "csrc/base/hash.h"
#include "csrc/base/strict_json.h"

namespace kente {
namespace {

using Json = nlohmann::json;

constexpr size_t kDigestDigits = 16;
constexpr size_t kMostLineBytes = 16 << 20;

std::string checksum(std::string_view text) { return hex64(xxh3_64(text.data(), text.size())); }

Json json_of(const TermBegun& begun) { return {{"term", begun.term}}; }

Json json_of(const LabAdmitted& admitted) {
  return {
      {"lab", admitted.lab}, {"incarnation", admitted.incarnation}, {"session", admitted.session}};
}

Json json_of(const RoundCommitted& committed) {
  Json contributions = Json::array();
  for (const Contribution& c : committed.commit.contributions)
    contributions.push_back({{"lab", c.lab}, {"payload", c.payload}, {"tokens", c.tokens}});
  return {{"committed", committed.commit.round},
          {"base", committed.commit.base},
          {"contributions", std::move(contributions)},
          {"aggregate", committed.commit.aggregate}};
}

Json json_of(const RoundDone& done) { return {{"done", done.round}, {"weights", done.weights}}; }

Json json_of(const RoundsForgotten& forgotten) { return {{"forgotten", forgotten.round}}; }

struct Line {
  enum State { kWhole, kUnfinished, kWrong } state;
  std::string_view json = {};
  size_t bytes = 0;
};

/// The line that text begins with. Unfinished: nothing comes after what is wrong with it. A disk
/// may have written the end of a record before its middle.
Line line_at(std::string_view text) {
  const size_t size_begin = kDigestDigits + 1;
  const size_t size_end = text.find(' ', size_begin);
  const auto unfinished_if = [](bool is) { return Line{is ? Line::kUnfinished : Line::kWrong}; };
  const bool one_line = text.find('\n') >= text.size() - 1;  // or none
  if (size_end == std::string_view::npos) return unfinished_if(one_line);
  size_t size = 0;
  const auto [end, error] = std::from_chars(text.data() + size_begin, text.data() + size_end, size);
  if (error != std::errc() || end != text.data() + size_end || size > kMostLineBytes)
    return unfinished_if(one_line);
  const size_t bytes = size_end + 1 + size + 1;
  if (text.size() < bytes) return unfinished_if(one_line);
  const std::string_view json = text.substr(size_end + 1, size);
  const bool whole = text[kDigestDigits] == ' ' && text[bytes - 1] == '\n' &&
                     text.substr(0, kDigestDigits) == checksum(json);
  if (!whole) return unfinished_if(text.size() == bytes);
  return {Line::kWhole, json, bytes};
}

/// Reads records in their order, and what each may say after those before it.
class LogReader {
 public:
  explicit LogReader(std::string file) : file_(std::move(file)) {}

  LogRecord read(std::string_view text, int64_t offset) {
    offset_ = offset;
    const Json json = parse_strict_json(
        text, file_, {.bytes = int64_t{kMostLineBytes}, .depth = 4, .offset = offset});
    if (!json.is_object()) fail("a record that is no object");
    if (json.contains("term")) return term(json);
    if (json.contains("incarnation")) return admitted(json);
    if (json.contains("committed")) return committed(json);
    if (json.contains("done")) return done(json);
    if (json.contains("forgotten")) return forgotten(json);
    fail("a record of no known kind");
  }

 private:
  LogRecord term(const Json& json) {
    expect_keys(json, 1);
    const int64_t term = number(json, "term");
    if (term <= term_) fail("term " + std::to_string(term) + " after " + std::to_string(term_));
    term_ = term;
    return TermBegun{term};
  }

  LogRecord admitted(const Json& json) {
    expect_keys(json, 3);
    LabAdmitted record{text_of(json, "lab"), number(json, "incarnation"),
                       any_number(json, "session")};
    LabAdmitted& last = labs_[record.lab];
    if (record.incarnation != last.incarnation + 1 || record.session <= last.session)
      fail(record.lab + " admitted out of order");
    last = record;
    return record;
  }

  LogRecord committed(const Json& json) {
    expect_keys(json, 4);
    RoundCommit commit{.round = number(json, "committed"),
                       .base = text_of(json, "base"),
                       .contributions = {},
                       .aggregate = text_of(json, "aggregate")};
    if (commit.round != committed_ + 1 || committed_ != done_) fail("a round out of order");
    if (!json.contains("contributions") || !json.at("contributions").is_array())
      fail("contributions that are no list");
    for (const Json& one : json.at("contributions")) {
      if (!one.is_object()) fail("a contribution that is no object");
      expect_keys(one, 3);
      Contribution c{text_of(one, "lab"), text_of(one, "payload"), number(one, "tokens")};
      if (!commit.contributions.empty() && c.lab <= commit.contributions.back().lab)
        fail("contributions that are not sorted by lab");
      commit.contributions.push_back(std::move(c));
    }
    if (commit.contributions.empty()) fail("a round without contributions");
    committed_ = commit.round;
    return RoundCommitted{std::move(commit)};
  }

  LogRecord done(const Json& json) {
    expect_keys(json, 2);
    const int64_t round = number(json, "done");
    if (round != committed_ || round != done_ + 1) fail("a round done out of order");
    done_ = round;
    return RoundDone{round, text_of(json, "weights")};
  }

  LogRecord forgotten(const Json& json) {
    expect_keys(json, 1);
    const int64_t round = number(json, "forgotten");
    if (round <= forgotten_ || round > done_) fail("rounds forgotten out of order");
    forgotten_ = round;
    return RoundsForgotten{round};
  }

  void expect_keys(const Json& json, size_t keys) {
    if (json.size() != keys) fail("a record with other fields than it has");
  }

  /// From 1 on.
  int64_t number(const Json& json, const char* key) {
    const uint64_t value = any_number(json, key);
    if (value == 0 || value > static_cast<uint64_t>(INT64_MAX)) fail(std::string("bad ") + key);
    return static_cast<int64_t>(value);
  }

  uint64_t any_number(const Json& json, const char* key) {
    const auto found = json.find(key);
    if (found == json.end() || !found->is_number_unsigned()) fail(std::string("no number ") + key);
    return found->get<uint64_t>();
  }

  std::string text_of(const Json& json, const char* key) {
    const auto found = json.find(key);
    if (found == json.end() || !found->is_string()) fail(std::string("no text ") + key);
    auto text = found->get<std::string>();
    const bool printable = std::ranges::all_of(text, [](char c) { return c > ' ' && c < '\x7f'; });
    if (text.empty() || text.size() > kMostNameBytes || !printable) fail(std::string("bad ") + key);
    return text;
  }

  [[noreturn]] void fail(const std::string& what) const { throw FormatError(file_, offset_, what); }

  const std::string file_;
  int64_t offset_ = 0;
  int64_t term_ = 0, committed_ = 0, done_ = 0, forgotten_ = 0;
  std::map<LabId, LabAdmitted> labs_;
};

}  // namespace

std::string log_line(const LogRecord& record) {
  const std::string json =
      std::visit([](const auto& what) { return json_of(what).dump(); }, record);
  return checksum(json) + " " + std::to_string(json.size()) + " " + json + "\n";
}

ReadLog read_log(const std::string& text, const std::string& file) {
  ReadLog log;
  LogReader reader(file);
  const std::string_view all = text;
  size_t begin = 0;
  while (begin < all.size()) {
    const Line line = line_at(all.substr(begin));
    if (line.state == Line::kUnfinished) break;
    if (line.state == Line::kWrong)
      throw FormatError(file, static_cast<int64_t>(begin), "a line that does not fit its digest");
    log.records.push_back(reader.read(line.json, line.json.data() - all.data()));
    begin += line.bytes;
    log.bytes = static_cast<int64_t>(begin);
  }
  return log;
}

}  // namespace kente
