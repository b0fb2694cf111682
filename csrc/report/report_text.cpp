#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "csrc/report/environment.h"
#include "csrc/report/number_text.h"
#include "csrc/report/run_record.h"
#include "csrc/report/summary.h"
#include "csrc/report/terminal.h"

namespace kente {
namespace {

std::string headline(const Summary& summary, const Environment& environment) {
  std::vector<std::vector<std::string>> rows;
  if (environment.parameters > 0)
    rows.push_back({"parameters", count_text(static_cast<double>(environment.parameters))});
  rows.push_back({"steps", std::to_string(summary.steps)});
  rows.push_back({"tokens", count_text(static_cast<double>(summary.tokens))});
  rows.push_back({"time in steps", duration_text(summary.seconds)});
  rows.push_back({"tokens/s (median)", count_text(summary.tokens_per_second)});
  if (summary.ceiling_fraction)
    rows.push_back({"of the ceiling", fixed_text(100 * *summary.ceiling_fraction, 0) + " %"});
  rows.push_back({"final loss", or_dash(summary.loss, 4)});
  if (summary.validation_loss)
    rows.push_back({"held-back loss", or_dash(summary.validation_loss, 4)});
  if (summary.bits_per_byte)
    rows.push_back(
        {"bits per byte",
         or_dash(summary.bits_per_byte, 3) +
             (summary.trigram_bits_per_byte
                  ? "  (byte trigram " + fixed_text(*summary.trigram_bits_per_byte, 3) + ")"
                  : "")});
  return text_table({}, rows, {Align::kLeft, Align::kLeft});
}

std::string sources(const std::vector<SourceRow>& rows) {
  if (rows.empty()) return "";
  std::vector<std::vector<std::string>> cells;
  for (const SourceRow& row : rows) {
    const Environment::Source* source = row.source;
    cells.push_back({row.id, source ? source->language : "", source ? source->licence : "",
                     source ? source->lab : "",
                     source ? count_text(static_cast<double>(source->tokens)) : "",
                     or_dash(row.bits_per_byte, 3), or_dash(row.trigram_bits_per_byte, 3)});
  }
  constexpr auto kL = Align::kLeft, kR = Align::kRight;
  return "\n" +
         text_table({"source", "language", "licence", "lab", "tokens", "bits/byte", "trigram"},
                    cells, {kL, kL, kL, kL, kR, kR, kR});
}

std::string comparison(const Comparison& compared) {
  if (compared.step == 0) return "";
  std::vector<std::vector<std::string>> cells;
  for (const RankRecord& rank : compared.ranks) {
    const PhaseRecord& was = rank.measured;
    const PhaseRecord& expected = rank.predicted;
    const auto both = [](double measured, double predicted) {
      return fixed_text(1e3 * measured, 1) + " / " + fixed_text(1e3 * predicted, 1);
    };
    cells.push_back({std::to_string(rank.rank), rank.device, both(was.forward, expected.forward),
                     both(was.backward_input, expected.backward_input),
                     both(was.backward_weight, expected.backward_weight),
                     both(was.optimizer, expected.optimizer), both(was.wait, expected.wait)});
  }
  constexpr auto kL = Align::kLeft, kR = Align::kRight;
  return "\nstep " + duration_text(compared.measured_seconds) + ", predicted " +
         duration_text(compared.predicted_seconds) + " (" + fixed_text(100 * compared.off(), 1) +
         " % off); milliseconds, measured / predicted, at step " + std::to_string(compared.step) +
         "\n" +
         text_table({"rank", "device", "forward", "inputs", "weights", "optimizer", "waiting"},
                    cells, {kR, kL, kR, kR, kR, kR, kR});
}

std::string operations(const std::vector<OpProfile>& profiles) {
  const OpSummary summary = summarize_ops(profiles);
  if (summary.rows.empty() || summary.seconds <= 0) return "";
  const auto part = [&](double seconds) {
    return fixed_text(100 * seconds / summary.seconds, 1) + " %";
  };
  std::vector<std::vector<std::string>> cells;
  for (const OpSummary::Row& row : summary.rows)
    cells.push_back({row.op.name, fixed_text(1e3 * row.op.seconds, 1), part(row.op.seconds),
                     row.op.flops > 0 ? count_text(row.op.flops / row.op.seconds) : "",
                     count_text(row.op.bytes / row.op.seconds),
                     fixed_text(100 * row.of_limit(), 0) + " %",
                     fixed_text(1e3 * row.left_seconds(), 1)});
  constexpr auto kL = Align::kLeft, kR = Align::kRight;
  return "\none step, all ranks: products " + part(summary.products) + ", bytes moved " +
         part(summary.memory) + ", communication " + part(summary.communication) + ", waiting " +
         part(summary.waiting) + ", between operations " + part(summary.elsewhere()) + "\n" +
         text_table({"operation", "ms", "of the step", "FLOP/s", "B/s", "of its limit", "left, ms"},
                    cells, {kL, kR, kR, kR, kR, kR, kR});
}

std::string plan(const std::vector<Environment::Replica>& mesh) {
  if (mesh.empty()) return "";
  std::vector<std::vector<std::string>> cells;
  for (size_t r = 0; r < mesh.size(); ++r)
    for (const Environment::Stage& stage : mesh[r].stages) {
      std::string layers;
      for (const auto& [first, last] : stage.layers)
        layers += (layers.empty() ? "" : ",") + std::to_string(first) + "-" + std::to_string(last);
      cells.push_back({std::to_string(r), std::to_string(mesh[r].share), std::to_string(stage.rank),
                       layers, stage.gpu.empty() ? stage.dtype : stage.dtype + ", " + stage.gpu,
                       stage.recompute});
    }
  constexpr auto kL = Align::kLeft, kR = Align::kRight;
  return "\n" + text_table({"replica", "share", "rank", "layers", "dtype", "recompute"}, cells,
                           {kR, kR, kR, kL, kL, kL});
}

}  // namespace

std::string report_text(const RunRecord& run) {
  const Environment environment =
      parse_environment(run.environment_json, run.directory + "/environment.json");
  const Summary summary = summarize(run, environment);
  std::string text = printable(summary.title) + "\n";
  if (!environment.description.empty()) text += printable(environment.description) + "\n";
  text += "\n" + headline(summary, environment);
  std::vector<std::pair<double, double>> losses;
  for (const StepRecord& step : run.steps)
    if (std::isfinite(step.loss)) losses.emplace_back(static_cast<double>(step.step), step.loss);
  const std::string chart = text_chart(losses, "loss by step");
  if (!chart.empty()) text += "\n" + chart;
  return text + sources(source_rows(run, environment)) + plan(environment.mesh) +
         comparison(compare_with_plan(run)) + operations(run.ops);
}

std::string report_json(const RunRecord& run) {
  const Environment environment =
      parse_environment(run.environment_json, run.directory + "/environment.json");
  const Summary summary = summarize(run, environment);
  using Json = nlohmann::ordered_json;
  const auto number = [](const std::optional<double>& value) {
    return value && std::isfinite(*value) ? Json(*value) : Json(nullptr);
  };
  Json json;
  json["title"] = summary.title;
  json["steps"] = summary.steps;
  json["tokens"] = summary.tokens;
  json["seconds"] = summary.seconds;
  json["tokens_per_second"] = summary.tokens_per_second;
  json["ceiling_fraction"] = number(summary.ceiling_fraction);
  json["loss"] = number(summary.loss);
  json["validation_loss"] = number(summary.validation_loss);
  json["bits_per_byte"] = number(summary.bits_per_byte);
  json["byte_trigram_bits_per_byte"] = number(summary.trigram_bits_per_byte);
  const Comparison compared = compare_with_plan(run);
  json["predicted_seconds"] =
      compared.predicted_seconds > 0 ? Json(compared.predicted_seconds) : Json(nullptr);
  json["measured_seconds"] =
      compared.measured_seconds > 0 ? Json(compared.measured_seconds) : Json(nullptr);
  const OpSummary ops = summarize_ops(run.ops);
  const auto part = [&](double seconds) {
    return ops.seconds > 0 ? Json(seconds / ops.seconds) : Json(nullptr);
  };
  json["of_a_step"] = {{"products", part(ops.products)},
                       {"bytes_moved", part(ops.memory)},
                       {"communication", part(ops.communication)},
                       {"waiting", part(ops.waiting)},
                       {"between_operations", part(ops.elsewhere())}};
  json["sources"] = Json::array();
  for (const SourceRow& row : source_rows(run, environment)) {
    Json entry;
    entry["id"] = row.id;
    entry["loss"] = number(row.loss);
    entry["bits_per_byte"] = number(row.bits_per_byte);
    entry["byte_trigram_bits_per_byte"] = number(row.trigram_bits_per_byte);
    json["sources"].push_back(entry);
  }
  return json.dump(1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace kente
