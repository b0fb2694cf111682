#include "csrc/outer/round_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "csrc/base/errors.h"
#include "csrc/base/hash.h"

namespace kente {
namespace {

using testing::HasSubstr;

const std::vector<LogRecord> records = {
    TermBegun{1},
    LabAdmitted{"kumasi", 1, 7},
    LabAdmitted{"nairobi", 1, 18446744073709551615u},
    RoundCommitted{{.round = 1,
                    .base = "b0",
                    .contributions = {{"kumasi", "p1", 4096}, {"nairobi", "p2", 8192}},
                    .aggregate = "a1"}},
    RoundDone{1, "w1"},
    TermBegun{3},
    RoundsForgotten{1},
    LabAdmitted{"kumasi", 2, 8},
    RoundCommitted{
        {.round = 2, .base = "w1", .contributions = {{"kumasi", "p3", 1}}, .aggregate = "a2"}},
};

std::string log_of(const std::vector<LogRecord>& of) {
  std::string text;
  for (const LogRecord& record : of) text += log_line(record);
  return text;
}

std::string with_checksum(const std::string& json) {
  return hex64(xxh3_64(json.data(), json.size())) + " " + std::to_string(json.size()) + " " + json +
         "\n";
}

TEST(RoundLog, ReadsWhatWasWritten) {
  const std::string text = log_of(records);
  const ReadLog log = read_log(text, "log");
  EXPECT_EQ(log_of(log.records), text);
  EXPECT_EQ(log.records.size(), records.size());
  EXPECT_EQ(log.bytes, static_cast<int64_t>(text.size()));
  EXPECT_EQ(std::get<RoundCommitted>(log.records[3]).commit,
            std::get<RoundCommitted>(records[3]).commit);
}

TEST(RoundLog, CutAnywhereItHoldsTheRecordsBeforeTheCut) {
  const std::string text = log_of(records);
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    const ReadLog log = read_log(text.substr(0, cut), "log");
    std::string whole;
    for (const LogRecord& record : records) {
      if (whole.size() + log_line(record).size() > cut) break;
      whole += log_line(record);
    }
    ASSERT_EQ(log_of(log.records), whole) << cut;
    ASSERT_EQ(log.bytes, static_cast<int64_t>(whole.size())) << cut;
  }
}

TEST(RoundLog, AFlippedByteIsRefusedOrTheUnfinishedEnd) {
  const std::string text = log_of(records);
  const size_t last = text.size() - log_line(records.back()).size();
  for (size_t at = 0; at < text.size(); ++at)
    for (const int bit : {0, 3, 6}) {
      std::string flipped = text;
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << bit));
      if (at < last) {
        EXPECT_THROW(read_log(flipped, "log"), FormatError) << at;
      } else {
        try {
          EXPECT_EQ(read_log(flipped, "log").bytes, static_cast<int64_t>(last)) << at;
        } catch (const FormatError&) {
        }
      }
    }
}

TEST(RoundLog, RefusesWhatNoHubWritesAndSaysWhere) {
  const std::string term = with_checksum(R"({"term":1})");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"([1])", "no object"},
      {R"({"other":1})", "no known kind"},
      {R"({"term":1})", "term 1 after 1"},
      {R"({"term":0})", "bad term"},
      {R"({"term":9223372036854775808})", "bad term"},
      {R"({"term":"2"})", "no number term"},
      {R"({"term":2,"x":1})", "other fields"},
      {R"({"incarnation":2,"lab":"a","session":1})", "out of order"},
      {R"({"incarnation":1,"lab":"a b","session":1})", "bad lab"},
      {R"({"incarnation":1,"lab":"","session":1})", "bad lab"},
      {R"({"incarnation":1,"lab":"a","sessions":1})", "no number session"},
      {R"({"done":1,"weights":"w"})", "out of order"},
      {R"({"forgotten":1})", "out of order"},
      {R"({"committed":2,"base":"b","contributions":[],"aggregate":"a"})", "out of order"},
      {R"({"committed":1,"base":"b","contributions":[],"aggregate":"a"})", "without contributions"},
      {R"({"committed":1,"base":"b","contributions":1,"aggregate":"a"})", "no list"},
      {R"({"committed":1,"base":"b","contributions":[1],"aggregate":"a"})", "no object"},
      {R"({"committed":1,"base":"b","contributions":[{"lab":"b","payload":"p","tokens":1},)"
       R"({"lab":"a","payload":"p","tokens":1}],"aggregate":"a"})",
       "not sorted"},
      {R"({"committed":1,"base":"b","contributions":[{"lab":"b","payload":"p","tokens":0}],)"
       R"("aggregate":"a"})",
       "bad tokens"},
  };
  for (const auto& [json, message] : cases) {
    try {
      read_log(term + with_checksum(json), "hub/rounds.log");
      ADD_FAILURE() << json;
    } catch (const FormatError& refused) {
      EXPECT_THAT(refused.what(), HasSubstr(message)) << json;
      EXPECT_THAT(refused.what(), HasSubstr("hub/rounds.log")) << json;
    }
  }
}

}  // namespace
}  // namespace kente
