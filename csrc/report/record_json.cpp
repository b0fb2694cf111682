#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "csrc/base/clock.h"
#include "csrc/base/hash.h"
#include "csrc/report/run_record.h"

namespace kente {
namespace {

// Keeps the order in which fields are given: people read these lines too.
using OrderedJson = nlohmann::ordered_json;

OrderedJson number(double value) {
  return std::isfinite(value) ? OrderedJson(value) : OrderedJson(nullptr);
}
OrderedJson number(const std::optional<double>& value) {
  return value ? number(*value) : OrderedJson(nullptr);
}

std::string line_of(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

const char* name_of(TimelineSpan::Kind kind) {
  switch (kind) {
    case TimelineSpan::kCompute:
      return "compute";
    case TimelineSpan::kWait:
      return "wait";
    case TimelineSpan::kComm:
      return "comm";
  }
  return "";
}

OrderedJson phases(const PhaseRecord& record) {
  OrderedJson json;
  json["forward"] = number(record.forward);
  json["backward_input"] = number(record.backward_input);
  json["backward_weight"] = number(record.backward_weight);
  json["optimizer"] = number(record.optimizer);
  json["wait"] = number(record.wait);
  return json;
}

}  // namespace

std::string to_json(const StepRecord& record) {
  OrderedJson json;
  json["step"] = record.step;
  json["tokens"] = record.tokens;
  json["loss"] = number(static_cast<double>(record.loss));
  json["loss_bits"] = hex64(std::bit_cast<uint32_t>(record.loss)).substr(8);
  json["grad_norm"] = number(record.grad_norm);
  json["lr"] = number(record.lr);
  json["seconds"] = number(record.seconds);
  json["tokens_per_second"] = number(record.tokens_per_second);
  json["ceiling_fraction"] =
      record.ceiling_fraction > 0 ? number(record.ceiling_fraction) : OrderedJson(nullptr);
  json["predicted_seconds"] = number(record.predicted_seconds);
  json["joules"] = number(record.joules);
  json["epoch"] = number(record.epoch);
  json["samples"] = {record.first_sample, record.last_sample};
  for (const RankRecord& rank : record.ranks)
    json["ranks"].push_back(OrderedJson{{"rank", rank.rank},
                                        {"device", rank.device},
                                        {"measured", phases(rank.measured)},
                                        {"predicted", phases(rank.predicted)}});
  return line_of(json);
}

std::string event_json(const ValidationRecord& record) {
  OrderedJson json;
  json["time_ms"] = wall_clock_ms();
  json["event"] = "validation";
  json["step"] = record.step;
  json["loss"] = number(record.loss);
  json["bits_per_byte"] = number(record.bits_per_byte);
  json["sources"] = OrderedJson::array();
  for (const ValidationRecord::Source& source : record.sources) {
    OrderedJson entry;
    entry["id"] = source.id;
    entry["loss"] = number(source.loss);
    entry["bits_per_byte"] = number(source.bits_per_byte);
    entry["tokens"] = source.tokens;
    json["sources"].push_back(entry);
  }
  return line_of(json);
}

std::string event_json(const std::string& kind, int64_t step, const std::string& detail) {
  OrderedJson json;
  json["time_ms"] = wall_clock_ms();
  json["event"] = kind;
  json["step"] = step;
  json["detail"] = detail;
  return line_of(json);
}

std::string to_json(const std::vector<TimelineSpan>& timeline) {
  OrderedJson spans = OrderedJson::array();
  for (const TimelineSpan& span : timeline) {
    OrderedJson entry;
    entry["rank"] = span.rank;
    entry["label"] = span.label;
    entry["kind"] = name_of(span.kind);
    entry["begin"] = number(span.begin);
    entry["end"] = number(span.end);
    spans.push_back(entry);
  }
  OrderedJson json;
  json["kente_timeline"] = 1;
  json["spans"] = spans;
  return line_of(json) + "\n";
}

}  // namespace kente
