#include "csrc/report/summary.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

namespace kente {
namespace {

std::optional<double> median(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::optional<double> if_finite(double value) {
  return std::isfinite(value) ? std::optional<double>(value) : std::nullopt;
}

std::string title_of(const RunRecord& run, const Environment& environment) {
  if (!environment.name.empty()) return environment.name;
  const std::filesystem::path path = std::filesystem::path(run.directory) / "";
  const std::string name = path.parent_path().filename().string();
  return name.empty() ? "run" : name;
}

std::optional<double> trigram_of(const ValidationRecord& validation,
                                 const Environment& environment) {
  std::map<std::string, const Environment::Source*> known;
  for (const Environment::Source& source : environment.sources) known[source.id] = &source;
  double bits = 0, bytes = 0;
  for (const ValidationRecord::Source& entry : validation.sources) {
    const auto found = known.find(entry.id);
    if (found == known.end() || found->second->byte_trigram_bits_per_byte <= 0 ||
        found->second->bytes_per_token <= 0)
      return std::nullopt;
    const double weight = static_cast<double>(entry.tokens) * found->second->bytes_per_token;
    bits += weight * found->second->byte_trigram_bits_per_byte;
    bytes += weight;
  }
  return bytes > 0 ? std::optional<double>(bits / bytes) : std::nullopt;
}

}  // namespace

Summary summarize(const RunRecord& run, const Environment& environment) {
  Summary summary;
  summary.title = title_of(run, environment);
  std::vector<double> speeds, ceilings;
  for (const StepRecord& step : run.steps) {
    summary.tokens += step.tokens;
    if (std::isfinite(step.seconds)) summary.seconds += step.seconds;
    if (step.tokens_per_second > 0) speeds.push_back(step.tokens_per_second);
    if (step.ceiling_fraction > 0) ceilings.push_back(step.ceiling_fraction);
  }
  summary.tokens_per_second = median(std::move(speeds)).value_or(0);
  summary.ceiling_fraction = median(std::move(ceilings));
  if (!run.steps.empty()) {
    summary.steps = run.steps.back().step;
    summary.loss = if_finite(static_cast<double>(run.steps.back().loss));
  }
  if (!run.validations.empty()) {
    const ValidationRecord& last = run.validations.back();
    summary.validation_loss = if_finite(last.loss);
    summary.bits_per_byte = if_finite(last.bits_per_byte);
    summary.trigram_bits_per_byte = trigram_of(last, environment);
  }
  return summary;
}

std::vector<SourceRow> source_rows(const RunRecord& run, const Environment& environment) {
  std::vector<SourceRow> rows;
  std::map<std::string, size_t> row_of;
  for (const Environment::Source& source : environment.sources) {
    SourceRow row;
    row.source = &source;
    row.id = source.id;
    if (source.byte_trigram_bits_per_byte > 0)
      row.trigram_bits_per_byte = source.byte_trigram_bits_per_byte;
    row_of.emplace(source.id, rows.size());
    rows.push_back(std::move(row));
  }
  if (run.validations.empty()) return rows;
  for (const ValidationRecord::Source& entry : run.validations.back().sources) {
    const auto [found, fresh] = row_of.emplace(entry.id, rows.size());
    if (fresh) {
      rows.emplace_back();
      rows.back().id = entry.id;
    }
    rows[found->second].loss = if_finite(entry.loss);
    rows[found->second].bits_per_byte = if_finite(entry.bits_per_byte);
  }
  return rows;
}

Comparison compare_with_plan(const RunRecord& run) {
  Comparison found;
  std::vector<double> seconds;
  for (const StepRecord& step : run.steps) {
    if (!step.predicted_seconds || *step.predicted_seconds <= 0) continue;
    // A resumed run may have another plan: only steps of the newest one count.
    if (*step.predicted_seconds != found.predicted_seconds) seconds.clear();
    found.predicted_seconds = *step.predicted_seconds;
    if (std::isfinite(step.seconds)) seconds.push_back(step.seconds);
    if (step.ranks.empty()) continue;
    found.step = step.step;
    found.ranks = step.ranks;
  }
  found.measured_seconds = median(std::move(seconds)).value_or(0);
  if (found.measured_seconds <= 0) found.step = 0;
  return found;
}

std::vector<std::pair<double, double>> thin_out(
    const std::vector<std::pair<double, double>>& points, size_t buckets) {
  if (points.size() <= 2 * buckets || points.empty()) return points;
  const auto by_y = [](const auto& a, const auto& b) { return a.second < b.second; };
  std::vector<std::pair<double, double>> kept = {points.front()};
  for (size_t bucket = 0; bucket < buckets; ++bucket) {
    const auto begin =
        points.begin() + static_cast<std::ptrdiff_t>(bucket * points.size() / buckets);
    const auto end =
        points.begin() + static_cast<std::ptrdiff_t>((bucket + 1) * points.size() / buckets);
    auto [low, high] = std::minmax_element(begin, end, by_y);
    if (high < low) std::swap(low, high);
    if (low->first > kept.back().first) kept.push_back(*low);
    if (high->first > kept.back().first) kept.push_back(*high);
  }
  if (points.back().first > kept.back().first) kept.push_back(points.back());
  return kept;
}

}  // namespace kente
