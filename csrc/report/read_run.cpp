#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <functional>
#include <map>

#include "csrc/base/errors.h"
#include "csrc/report/json_fields.h"
#include "csrc/report/run_record.h"

namespace kente {
namespace {

using Json = nlohmann::json;

constexpr int64_t kLinesCap = int64_t{2} << 30;
constexpr int64_t kTextCap = 64 << 20;

std::string read_if_there(FileSystem& files, const std::string& path, int64_t cap) {
  if (!files.exists(path)) return "";
  const auto file = files.open(path);
  if (file->size() > cap)
    throw FormatError(
        path, -1,
        std::to_string(file->size()) + " bytes, at most " + std::to_string(cap) + " are read");
  std::string text(static_cast<size_t>(file->size()), '\0');
  file->read_at(0, text.data(), file->size());
  return text;
}

/// Calls use with every line that is a JSON object; returns how many others there are.
int64_t for_each_record(const std::string& text, const std::function<void(const Json&)>& use) {
  int64_t torn = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    if (line.empty()) continue;
    const std::optional<Json> record = parse_record(line);
    if (record && record->is_object())
      use(*record);
    else
      ++torn;
  }
  return torn;
}

float read_loss(const Json& json) {
  const std::string bits = text_at(json, "loss_bits");
  if (bits.size() == 8 && bits.find_first_not_of("0123456789abcdef") == std::string::npos)
    return std::bit_cast<float>(static_cast<uint32_t>(std::stoul(bits, nullptr, 16)));
  return static_cast<float>(number_at(json, "loss", std::nan("")));
}

std::optional<double> optional_at(const Json& json, const char* key) {
  const double value = number_at(json, key, std::nan(""));
  return std::isfinite(value) ? std::optional<double>(value) : std::nullopt;
}

PhaseRecord read_phases(const Json& object, const char* key) {
  PhaseRecord record;
  const auto found = object.find(key);
  if (found == object.end() || !found->is_object()) return record;
  record.forward = number_at(*found, "forward");
  record.backward_input = number_at(*found, "backward_input");
  record.backward_weight = number_at(*found, "backward_weight");
  record.optimizer = number_at(*found, "optimizer");
  record.wait = number_at(*found, "wait");
  return record;
}

StepRecord read_step(const Json& json) {
  StepRecord record;
  record.step = integer_at(json, "step");
  record.tokens = integer_at(json, "tokens");
  record.loss = read_loss(json);
  record.grad_norm = number_at(json, "grad_norm", std::nan(""));
  record.lr = number_at(json, "lr");
  record.seconds = number_at(json, "seconds");
  record.tokens_per_second = number_at(json, "tokens_per_second");
  record.ceiling_fraction = number_at(json, "ceiling_fraction");
  record.predicted_seconds = optional_at(json, "predicted_seconds");
  record.joules = optional_at(json, "joules");
  record.epoch = number_at(json, "epoch");
  const Json& samples = array_at(json, "samples");
  if (samples.size() == 2 && samples[0].is_number_integer() && samples[1].is_number_integer()) {
    record.first_sample = samples[0].get<int64_t>();
    record.last_sample = samples[1].get<int64_t>();
  }
  for (const Json& entry : array_at(json, "ranks")) {
    if (!entry.is_object()) continue;
    const int64_t rank = std::clamp<int64_t>(integer_at(entry, "rank"), 0, 1 << 20);
    record.ranks.push_back({.rank = static_cast<int>(rank),
                            .device = text_at(entry, "device"),
                            .measured = read_phases(entry, "measured"),
                            .predicted = read_phases(entry, "predicted")});
  }
  return record;
}

ValidationRecord read_validation(const Json& json) {
  ValidationRecord record;
  record.step = integer_at(json, "step");
  record.loss = number_at(json, "loss", std::nan(""));
  record.bits_per_byte = number_at(json, "bits_per_byte", std::nan(""));
  for (const Json& entry : array_at(json, "sources")) {
    if (!entry.is_object()) continue;
    record.sources.push_back({text_at(entry, "id"), number_at(entry, "loss", std::nan("")),
                              number_at(entry, "bits_per_byte", std::nan("")),
                              integer_at(entry, "tokens")});
  }
  return record;
}

std::string event_line(const Json& json) {
  const std::time_t seconds = static_cast<std::time_t>(integer_at(json, "time_ms") / 1000);
  std::tm utc{};
  std::array<char, 16> clock{};
  if (::gmtime_r(&seconds, &utc)) std::strftime(clock.data(), clock.size(), "%H:%M:%S", &utc);
  std::string line = std::string(clock.data()) + " " + text_at(json, "event");
  if (json.contains("step")) line += " step " + std::to_string(integer_at(json, "step"));
  const std::string detail = text_at(json, "detail");
  return detail.empty() ? line : line + ": " + detail;
}

void read_events(const std::string& text, RunRecord& run) {
  std::map<int64_t, ValidationRecord> validations;
  const int64_t torn = for_each_record(text, [&](const Json& json) {
    if (text_at(json, "event") != "validation") {
      run.events.push_back(event_line(json));
      return;
    }
    ValidationRecord record = read_validation(json);
    const int64_t step = record.step;
    validations.insert_or_assign(step, std::move(record));
  });
  for (auto& [step, record] : validations) run.validations.push_back(std::move(record));
  if (torn > 0) run.events.push_back(std::to_string(torn) + " torn lines of events.jsonl left out");
}

}  // namespace

std::vector<TimelineSpan> parse_timeline(const std::string& text, const std::string& path) {
  std::vector<TimelineSpan> timeline;
  if (text.empty()) return timeline;
  const std::optional<Json> json = parse_record(text);
  if (!json || !json->is_object()) throw FormatError(path, -1, "not a JSON object");
  if (integer_at(*json, "kente_timeline") > 1)
    throw FormatError(path, -1, "written by a newer kente: this build reads version 1");
  for (const Json& entry : array_at(*json, "spans")) {
    if (!entry.is_object()) continue;
    TimelineSpan span;
    span.rank = static_cast<int>(std::clamp<int64_t>(integer_at(entry, "rank"), 0, 1 << 20));
    span.label = text_at(entry, "label");
    const std::string kind = text_at(entry, "kind");
    span.kind = kind == "wait"   ? TimelineSpan::kWait
                : kind == "comm" ? TimelineSpan::kComm
                                 : TimelineSpan::kCompute;
    span.begin = number_at(entry, "begin");
    span.end = number_at(entry, "end");
    if (span.end >= span.begin) timeline.push_back(std::move(span));
  }
  return timeline;
}

RunRecord read_run(FileSystem& files, const std::string& directory) {
  const std::string root = directory + "/";
  if (!files.exists(root + "run.jsonl") && !files.exists(root + "recipe.textproto"))
    throw UsageError(directory + ": not a run directory: it has neither run.jsonl nor " +
                     "recipe.textproto; name the directory that `kente train` wrote");
  RunRecord run;
  run.directory = directory;
  read_events(read_if_there(files, root + "events.jsonl", kLinesCap), run);
  std::map<int64_t, StepRecord> steps;
  const int64_t torn =
      for_each_record(read_if_there(files, root + "run.jsonl", kLinesCap), [&](const Json& json) {
        const StepRecord record = read_step(json);
        steps.insert_or_assign(record.step, record);
      });
  for (const auto& [step, record] : steps) run.steps.push_back(record);
  if (torn > 0) run.events.push_back(std::to_string(torn) + " torn lines of run.jsonl left out");
  run.timeline = parse_timeline(read_if_there(files, root + "timeline.json", kTextCap),
                                root + "timeline.json");
  run.ops = parse_op_profiles(read_if_there(files, root + "ops.json", kTextCap), root + "ops.json");
  run.recipe_text = read_if_there(files, root + "recipe.textproto", kTextCap);
  run.plan_text = read_if_there(files, root + "plan.textproto", kTextCap);
  run.environment_json = read_if_there(files, root + "environment.json", kTextCap);
  return run;
}

}  // namespace kente
