#include <ctemplate/template.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "csrc/base/errors.h"
#include "csrc/report/environment.h"
#include "csrc/report/number_text.h"
#include "csrc/report/ops_page.h"
#include "csrc/report/page_template.h"
#include "csrc/report/run_record.h"
#include "csrc/report/summary.h"
#include "csrc/report/svg.h"

namespace kente {
namespace {

using Dictionary = ctemplate::TemplateDictionary;

// What keeps the page below 1 MB, whatever the run holds.
constexpr size_t kEventsShown = 200;
constexpr size_t kRowsShown = 400;
constexpr size_t kTextShown = 64 << 10;
constexpr size_t kLineShown = 500;
constexpr size_t kNameShown = 200;
constexpr double kWide = 1000, kNarrow = 340;

/// At most cap bytes, cut between UTF-8 characters.
std::string cut(const std::string& text, size_t cap) {
  if (text.size() <= cap) return text;
  size_t end = cap;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return text.substr(0, end) + " …";
}

struct Tile {
  std::string name, value, note;
  bool good = false;
};

void add_tile(Dictionary& page, const Tile& tile) {
  Dictionary* entry = page.AddSectionDictionary("TILE");
  entry->SetValue("NAME", tile.name);
  entry->SetValue("VALUE", tile.value);
  entry->SetValue("NOTE", tile.note);
  if (tile.good) entry->ShowSection("GOOD");
}

void add_headline(Dictionary& page, const Summary& summary, const Environment& environment) {
  if (summary.loss)
    add_tile(page, {"final loss", fixed_text(*summary.loss, 3),
                    "after " + std::to_string(summary.steps) + " steps"});
  if (summary.bits_per_byte) {
    Tile tile{"held-back bits per byte", fixed_text(*summary.bits_per_byte, 3), ""};
    if (const auto& trigram = summary.trigram_bits_per_byte) {
      tile.good = *summary.bits_per_byte < *trigram;
      const double percent = 100 * (1 - *summary.bits_per_byte / *trigram);
      tile.note = "byte trigram " + fixed_text(*trigram, 3) + ": " +
                  fixed_text(std::abs(percent), 0) + (percent >= 0 ? " % better" : " % worse");
    } else if (summary.validation_loss) {
      tile.note = "loss " + fixed_text(*summary.validation_loss, 3);
    }
    add_tile(page, tile);
  }
  add_tile(page, {"tokens trained on", count_text(static_cast<double>(summary.tokens)),
                  environment.parameters > 0
                      ? "model of " + count_text(static_cast<double>(environment.parameters)) +
                            " parameters"
                      : ""});
  add_tile(page, {"tokens per second", count_text(summary.tokens_per_second),
                  summary.ceiling_fraction ? fixed_text(100 * *summary.ceiling_fraction, 0) +
                                                 " % of the measured ceiling"
                                           : "median of the steps"});
  add_tile(page, {"time in steps", duration_text(summary.seconds),
                  environment.hosts.size() > 1 ? std::to_string(environment.hosts.size()) + " nodes"
                                               : ""});
}

void add_chart(Dictionary& page, const char* section, Chart chart) {
  chart.width = kWide;
  const std::string wide = chart_svg(chart);
  if (wide.empty()) return;
  Dictionary* entry = page.AddSectionDictionary(section);
  entry->SetValue("WIDE", wide);
  chart.width = kNarrow;
  chart.height = 240;
  entry->SetValue("NARROW", chart_svg(chart));
  if (chart.series.size() > 1 && !chart.series[1].points.empty()) entry->ShowSection("VALIDATED");
}

void add_charts(Dictionary& page, const RunRecord& run) {
  Chart loss{.x_name = "step",
             .y_name = "loss",
             .series = {{"training", "s-train", {}}, {"held back", "s-valid", {}}}};
  Chart speed{
      .x_name = "step", .y_name = "tokens per second", .series = {{"tokens/s", "s-speed", {}}}};
  speed.floor = Chart::Floor::kZero;
  speed.height = 220;
  for (const StepRecord& step : run.steps) {
    const auto x = static_cast<double>(step.step);
    if (std::isfinite(step.loss)) loss.series[0].points.emplace_back(x, step.loss);
    if (step.tokens_per_second > 0 && std::isfinite(step.tokens_per_second))
      speed.series[0].points.emplace_back(x, step.tokens_per_second);
  }
  for (const ValidationRecord& validation : run.validations)
    if (std::isfinite(validation.loss))
      loss.series[1].points.emplace_back(static_cast<double>(validation.step), validation.loss);
  add_chart(page, "LOSS", std::move(loss));
  add_chart(page, "SPEED", std::move(speed));
}

std::string source_name(const SourceRow& row) {
  return cut(row.source && !row.source->title.empty() ? row.source->title : row.id, kNameShown);
}

void add_validation(Dictionary& page, const std::vector<SourceRow>& rows) {
  double most = 0;
  for (const SourceRow& row : rows)
    most = std::max({most, row.bits_per_byte.value_or(0), row.trigram_bits_per_byte.value_or(0)});
  if (most <= 0 || std::none_of(rows.begin(), rows.end(),
                                [](const SourceRow& row) { return row.bits_per_byte.has_value(); }))
    return;
  Dictionary* section = page.AddSectionDictionary("SOURCES");
  for (size_t i = 0; i < std::min(rows.size(), kRowsShown); ++i) {
    const SourceRow& row = rows[i];
    Dictionary* entry = section->AddSectionDictionary("ROW");
    entry->SetValue("NAME", source_name(row));
    entry->SetValue("LANGUAGE", row.source ? cut(row.source->language, kNameShown) : "");
    entry->SetValue("LOSS", or_dash(row.loss, 3));
    entry->SetValue("BITS", or_dash(row.bits_per_byte, 3));
    entry->SetValue("TRIGRAM", or_dash(row.trigram_bits_per_byte, 3));
    entry->SetValue("OURS", fixed_text(100 * row.bits_per_byte.value_or(0) / most, 1));
    entry->SetValue("THEIRS", fixed_text(100 * row.trigram_bits_per_byte.value_or(0) / most, 1));
  }
}

void add_timeline(Dictionary& page, const std::vector<TimelineSpan>& timeline) {
  const std::string picture = timeline_svg(timeline, kWide);
  if (picture.empty()) return;
  Dictionary* section = page.AddSectionDictionary("TIMELINE");
  section->SetValue("PICTURE", picture);
  std::map<int, std::map<TimelineSpan::Kind, double>> totals;
  for (const TimelineSpan& span : timeline) totals[span.rank][span.kind] += span.end - span.begin;
  for (auto& [rank, total] : totals) {
    Dictionary* entry = section->AddSectionDictionary("RANK");
    entry->SetValue("RANK_NUMBER", std::to_string(rank));
    entry->SetValue("COMPUTE", duration_text(total[TimelineSpan::kCompute]));
    entry->SetValue("COMM", duration_text(total[TimelineSpan::kComm]));
    entry->SetValue("WAIT", duration_text(total[TimelineSpan::kWait]));
    if (totals.size() > kRowsShown && rank > static_cast<int>(kRowsShown)) break;
  }
}

std::string percent_off(double measured, double predicted) {
  if (predicted <= 0) return "–";
  const double percent = 100 * (measured / predicted - 1);
  return (percent >= 0 ? "+" : "−") + fixed_text(std::abs(percent), 1) + " %";
}

/// kente bench names devices "rank-0"; a person's profile has names of its own.
std::string rank_name(const RankRecord& rank) {
  const std::string number = std::to_string(rank.rank);
  return rank.device == "rank-" + number ? "rank " + number : "rank " + number + ", " + rank.device;
}

void add_comparison(Dictionary& page, const Comparison& compared) {
  if (compared.step == 0) return;
  Dictionary* section = page.AddSectionDictionary("COMPARED");
  section->SetValue("STEP", std::to_string(compared.step));
  section->SetValue("MEASURED", duration_text(compared.measured_seconds));
  section->SetValue("PREDICTED", duration_text(compared.predicted_seconds));
  section->SetValue("OFF", percent_off(compared.measured_seconds, compared.predicted_seconds));
  double most = 1e-12;
  for (const RankRecord& rank : compared.ranks)
    most = std::max({most, rank.measured.busy() + rank.measured.wait,
                     rank.predicted.busy() + rank.predicted.wait});
  for (size_t i = 0; i < std::min(compared.ranks.size(), kRowsShown); ++i) {
    const RankRecord& rank = compared.ranks[i];
    for (const PhaseRecord* phases : {&rank.predicted, &rank.measured}) {
      const bool measured = phases == &rank.measured;
      Dictionary* row = section->AddSectionDictionary("ROW");
      if (!measured) row->SetValue("NAME", cut(rank_name(rank), kNameShown));
      row->SetValue("WHAT", measured ? "measured" : "predicted");
      row->SetValue("FORWARD", duration_text(phases->forward));
      row->SetValue("INPUT", duration_text(phases->backward_input));
      row->SetValue("WEIGHT", duration_text(phases->backward_weight));
      row->SetValue("OPTIMIZER", duration_text(phases->optimizer));
      row->SetValue("WAIT", duration_text(phases->wait));
      if (measured) row->SetValue("BUSY_OFF", percent_off(phases->busy(), rank.predicted.busy()));
      const auto width = [&](const char* name, double seconds) {
        row->SetValue(name, fixed_text(100 * std::max(0.0, seconds) / most, 2));
      };
      width("FORWARD_WIDTH", phases->forward);
      width("INPUT_WIDTH", phases->backward_input);
      width("WEIGHT_WIDTH", phases->backward_weight);
      width("OPTIMIZER_WIDTH", phases->optimizer);
    }
  }
}

void add_plan(Dictionary& page, const RunRecord& run, const Environment& environment) {
  const std::string picture = plan_svg(environment.mesh, kWide);
  if (picture.empty() && run.plan_text.empty()) return;
  Dictionary* section = page.AddSectionDictionary("PLAN");
  section->SetValue("PICTURE", picture);
  if (run.plan_text.empty()) return;
  section->AddSectionDictionary("PLAN_TEXT")->SetValue("TEXT", cut(run.plan_text, kTextShown));
}

void add_data(Dictionary& page, const Environment& environment) {
  if (environment.sources.empty()) return;
  Dictionary* section = page.AddSectionDictionary("DATA");
  for (size_t i = 0; i < std::min(environment.sources.size(), kRowsShown); ++i) {
    const Environment::Source& source = environment.sources[i];
    Dictionary* entry = section->AddSectionDictionary("ROW");
    entry->SetValue("NAME", cut(source.title.empty() ? source.id : source.title, kNameShown));
    entry->SetValue("LANGUAGE", cut(source.language, kNameShown));
    entry->SetValue("LICENCE", cut(source.licence, kNameShown));
    entry->SetValue("LAB", cut(source.lab, kNameShown));
    entry->SetValue("WEIGHT", short_text(source.weight));
    entry->SetValue("TOKENS", count_text(static_cast<double>(source.tokens)));
    entry->SetValue("DIGEST", source.digest.substr(0, 12));
  }
}

void add_machine(Dictionary& page, const Environment& environment) {
  std::vector<std::pair<std::string, std::string>> facts;
  if (!environment.cpu.empty()) facts.emplace_back("processor", environment.cpu);
  if (environment.cores > 0) facts.emplace_back("cores", std::to_string(environment.cores));
  if (environment.memory_bytes > 0)
    facts.emplace_back("memory", bytes_text(static_cast<double>(environment.memory_bytes)));
  std::string hosts;
  for (const std::string& host : environment.hosts) hosts += (hosts.empty() ? "" : ", ") + host;
  if (!hosts.empty()) facts.emplace_back("nodes", hosts);
  facts.insert(facts.end(), environment.versions.begin(), environment.versions.end());
  if (facts.empty()) return;
  Dictionary* section = page.AddSectionDictionary("MACHINE");
  for (size_t i = 0; i < std::min(facts.size(), kRowsShown); ++i) {
    Dictionary* entry = section->AddSectionDictionary("FACT");
    entry->SetValue("NAME", cut(facts[i].first, kNameShown));
    entry->SetValue("VALUE", cut(facts[i].second, kNameShown));
  }
}

void add_events(Dictionary& page, const std::vector<std::string>& events) {
  if (events.empty()) return;
  Dictionary* section = page.AddSectionDictionary("EVENTS");
  const size_t shown = std::min(events.size(), kEventsShown);
  if (shown < events.size()) {
    Dictionary* entry = section->AddSectionDictionary("CUT");
    entry->SetValue("SHOWN", std::to_string(shown));
    entry->SetValue("ALL", std::to_string(events.size()));
  }
  for (size_t i = events.size() - shown; i < events.size(); ++i)
    section->AddSectionDictionary("LINE")->SetValue("TEXT", cut(events[i], kLineShown));
}

}  // namespace

std::string report_html(const RunRecord& run) {
  const Environment environment =
      parse_environment(run.environment_json, run.directory + "/environment.json");
  const Summary summary = summarize(run, environment);
  Dictionary page("report");
  page.SetValue("TITLE", cut(summary.title, kNameShown));
  page.SetValue("SUBTITLE", cut(environment.description, kLineShown));
  page.SetValue("DIRECTORY", run.directory);
  if (run.steps.empty()) page.ShowSection("EMPTY");
  add_headline(page, summary, environment);
  add_charts(page, run);
  add_validation(page, source_rows(run, environment));
  add_timeline(page, run.timeline);
  add_comparison(page, compare_with_plan(run));
  add_ops(page, run.ops, kWide);
  add_plan(page, run, environment);
  add_data(page, environment);
  add_machine(page, environment);
  if (!run.recipe_text.empty())
    page.AddSectionDictionary("RECIPE")->SetValue("TEXT", cut(run.recipe_text, kTextShown));
  add_events(page, run.events);
  ctemplate::TemplateCache cache;
  KENTE_CHECK(cache.StringToTemplateCache("page", kPageTemplate, ctemplate::DO_NOT_STRIP),
              "the report's template");
  cache.Freeze();
  std::string html;
  KENTE_CHECK(cache.ExpandNoLoad("page", ctemplate::DO_NOT_STRIP, &page, nullptr, &html),
              "the report's template");
  return html;
}

}  // namespace kente
