#pragma once

#include <optional>
#include <string>
#include <vector>

#include "csrc/report/environment.h"
#include "csrc/report/run_record.h"

namespace kente {

/// The numbers every form of the report starts with.
struct Summary {
  std::string title;
  int64_t steps = 0, tokens = 0;
  double seconds = 0;                                    // sum over steps
  double tokens_per_second = 0;                          // median of the steps; 0: no step
  std::optional<double> loss;                            // the last step's
  std::optional<double> validation_loss, bits_per_byte;  // the last validation's
  /// The byte trigram on the same held-back text, weighted by its bytes; empty unless every
  /// validated source has one.
  std::optional<double> trigram_bits_per_byte;
  std::optional<double> ceiling_fraction;  // median of the measured ones
};
Summary summarize(const RunRecord& run, const Environment& environment);

/// One source beside its byte trigram, from the last validation; sources that were never validated
/// too.
struct SourceRow {
  const Environment::Source* source = nullptr;  // null: the environment does not name it
  std::string id;
  std::optional<double> loss, bits_per_byte, trigram_bits_per_byte;
};
std::vector<SourceRow> source_rows(const RunRecord& run, const Environment& environment);

/// What the plan predicted beside what was measured: the last steps that were compared.
struct Comparison {
  int64_t step = 0;                                    // 0: nothing was compared
  double measured_seconds = 0, predicted_seconds = 0;  // median of the run's steps; of the plan
  std::vector<RankRecord> ranks;

  /// Measured over predicted, less one.
  double off() const { return measured_seconds / predicted_seconds - 1; }
};
Comparison compare_with_plan(const RunRecord& run);

/// At most buckets * 2 of the points: each bucket's lowest and highest, in order, and both ends.
std::vector<std::pair<double, double>> thin_out(
    const std::vector<std::pair<double, double>>& points, size_t buckets);

}  // namespace kente
