#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "csrc/base/file_system.h"
#include "csrc/report/op_profile.h"

namespace kente {

/// Where a rank's step went, in seconds.
struct PhaseRecord {
  double forward = 0, backward_input = 0, backward_weight = 0, optimizer = 0;
  double wait = 0;  // messages, reductions, slower ranks

  double busy() const { return forward + backward_input + backward_weight + optimizer; }
};

/// Measured beside predicted, an average over the steps since the last such record.
struct RankRecord {
  int rank = 0;
  std::string device;  // the profile's id
  PhaseRecord measured, predicted;
};

/// One line of run.jsonl. Fields are only ever added. A value that is not finite is written as
/// null.
struct StepRecord {
  int64_t step = 0;    // from 1
  int64_t tokens = 0;  // targets of this step
  float loss = 0;      // mean nats per target; loss_bits is derived
  double grad_norm = 0;
  double lr = 0;
  double seconds = 0;
  double tokens_per_second = 0;
  double ceiling_fraction = 0;  // 0: not measured, written as null
  std::optional<double> predicted_seconds, joules;
  double epoch = 0;
  int64_t first_sample = 0, last_sample = 0;
  /// Every tenth step of a run whose plan was made from a cluster profile; else empty, not written.
  std::vector<RankRecord> ranks;
};

/// One line, without its newline.
std::string to_json(const StepRecord& record);

/// One line of events.jsonl: {"time_ms": now, "event": kind, "step": ..., ...}, without its
/// newline.
struct ValidationRecord {
  struct Source {
    std::string id;
    double loss = 0;  // mean nats per target
    double bits_per_byte = 0;
    int64_t tokens = 0;
  };
  int64_t step = 0;
  double loss = 0;
  double bits_per_byte = 0;
  std::vector<Source> sources;
};
std::string event_json(const ValidationRecord& record);
/// kind "start", "resume", "checkpoint", "stop", ...: detail for people.
std::string event_json(const std::string& kind, int64_t step, const std::string& detail);

/// One rank's step as it happened: for the timeline picture. Seconds from the step's common start.
struct TimelineSpan {
  int rank = 0;
  std::string label;  // an action of the schedule: "F0.0", "BI2.0", "BW2.0", "S"
  enum Kind { kCompute, kWait, kComm } kind = kCompute;
  double begin = 0, end = 0;
};
/// timeline.json
std::string to_json(const std::vector<TimelineSpan>& timeline);
/// file is for messages. Throws FormatError.
std::vector<TimelineSpan> parse_timeline(const std::string& text, const std::string& file);

/// Everything a report shows, read back from a run directory (missing optional files are empty).
struct RunRecord {
  std::string directory;
  std::vector<StepRecord> steps;  // the last line of a step wins (a resumed run repeats steps)
  std::vector<ValidationRecord> validations;  // by step; the last one of a step wins
  std::vector<std::string>
      events;  // "12:03:55 checkpoint step 40: ..." (UTC) for people, oldest first
  std::vector<TimelineSpan> timeline;  // timeline.json
  std::vector<OpProfile> ops;          // ops.json, of the same step
  std::string recipe_text, plan_text;  // recipe.textproto, plan.textproto
  std::string environment_json;        // environment.json, see csrc/report/environment.h
};

/// Lines of run.jsonl and events.jsonl that are torn (a crash, a cut disk) are left out and counted
/// in an event; a run that was cut at any byte can be read. Throws UsageError when directory is not
/// a run, FormatError for a file of a newer version or beyond its size cap.
RunRecord read_run(FileSystem& files, const std::string& directory);

/// One self-contained page, light and dark: loss, validation, tokens/s, timeline, plan, sources
/// with licences, machine, recipe, events. Nothing is loaded from anywhere; every text of the run
/// is escaped; below 1 MB however long the run. Throws FormatError for an environment it cannot
/// read.
std::string report_html(const RunRecord& run);

/// The same for a terminal: tables and a small chart.
std::string report_text(const RunRecord& run);

/// The headline numbers, for scripts: one JSON object.
std::string report_json(const RunRecord& run);

}  // namespace kente
