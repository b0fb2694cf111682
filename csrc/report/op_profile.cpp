#include "csrc/report/op_profile.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "csrc/base/errors.h"
#include "csrc/report/json_fields.h"

namespace kente {
namespace {

constexpr size_t kMostProfiles = 1 << 20;
constexpr size_t kMostOps = 200;

double not_negative(const nlohmann::json& object, const char* key) {
  const double value = number_at(object, key);
  return std::isfinite(value) ? std::max(0.0, value) : 0;
}

}  // namespace

double OpProfile::least_seconds(const OpRecord& op) const {
  const double products = roof.flops_per_second > 0 ? op.flops / roof.flops_per_second : 0;
  const double traffic = roof.bytes_per_second > 0 ? op.bytes / roof.bytes_per_second : 0;
  return std::max(products, traffic);
}

std::string to_json(const std::vector<OpProfile>& profiles) {
  nlohmann::ordered_json json;
  json["kente_ops"] = 1;
  json["ranks"] = nlohmann::ordered_json::array();
  for (const OpProfile& profile : profiles) {
    nlohmann::ordered_json rank = {{"rank", profile.rank},
                                   {"seconds", profile.seconds},
                                   {"communication", profile.communication},
                                   {"waiting", profile.waiting},
                                   {"flops_per_second", profile.roof.flops_per_second},
                                   {"bytes_per_second", profile.roof.bytes_per_second},
                                   {"ops", nlohmann::ordered_json::array()}};
    for (const OpRecord& op : profile.ops)
      rank["ops"].push_back({{"op", op.name},
                             {"calls", op.calls},
                             {"seconds", op.seconds},
                             {"flops", op.flops},
                             {"bytes", op.bytes}});
    json["ranks"].push_back(rank);
  }
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::vector<OpProfile> parse_op_profiles(const std::string& text, const std::string& file) {
  std::vector<OpProfile> profiles;
  if (text.empty()) return profiles;
  const std::optional<nlohmann::json> json = parse_record(text);
  if (!json || !json->is_object()) throw FormatError(file, -1, "not a JSON object");
  if (integer_at(*json, "kente_ops") > 1)
    throw FormatError(file, -1, "written by a newer kente: this build reads version 1");
  for (const nlohmann::json& entry : array_at(*json, "ranks")) {
    if (!entry.is_object() || profiles.size() == kMostProfiles) continue;
    OpProfile& profile = profiles.emplace_back();
    profile.rank = static_cast<int>(std::clamp<int64_t>(integer_at(entry, "rank"), 0, 1 << 20));
    profile.seconds = not_negative(entry, "seconds");
    profile.communication = not_negative(entry, "communication");
    profile.waiting = not_negative(entry, "waiting");
    profile.roof.flops_per_second = not_negative(entry, "flops_per_second");
    profile.roof.bytes_per_second = not_negative(entry, "bytes_per_second");
    for (const nlohmann::json& op : array_at(entry, "ops"))
      if (op.is_object() && profile.ops.size() < kMostOps)
        profile.ops.push_back({.name = text_at(op, "op"),
                               .calls = not_negative(op, "calls"),
                               .seconds = not_negative(op, "seconds"),
                               .flops = not_negative(op, "flops"),
                               .bytes = not_negative(op, "bytes")});
  }
  return profiles;
}

double OpSummary::elsewhere() const {
  return std::max(0.0, seconds - products - memory - communication - waiting);
}

OpSummary summarize_ops(const std::vector<OpProfile>& profiles) {
  OpSummary summary;
  std::map<std::string, OpSummary::Row> rows;
  for (const OpProfile& profile : profiles) {
    summary.seconds += profile.seconds;
    summary.communication += profile.communication;
    summary.waiting += profile.waiting;
    for (const OpRecord& op : profile.ops) {
      OpSummary::Row& row = rows[op.name];
      row.op.name = op.name;
      row.op.calls += op.calls;
      row.op.seconds += op.seconds;
      row.op.flops += op.flops;
      row.op.bytes += op.bytes;
      row.least_seconds += profile.least_seconds(op);
      (op.flops > 0 ? summary.products : summary.memory) += op.seconds;
    }
  }
  for (auto& [name, row] : rows) summary.rows.push_back(std::move(row));
  std::stable_sort(
      summary.rows.begin(), summary.rows.end(),
      [](const OpSummary::Row& a, const OpSummary::Row& b) { return a.op.seconds > b.op.seconds; });
  return summary;
}

}  // namespace kente
