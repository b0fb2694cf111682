#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "csrc/base/file_system.h"
#include "csrc/config/cluster.h"
#include "csrc/config/plan.h"
#include "csrc/config/recipe.h"
#include "csrc/report/environment.h"
#include "csrc/report/run_record.h"

namespace kente {

/// Writes a run directory: resolved inputs once, run.jsonl and events.jsonl as the run goes on. One
/// thread. A line is written with one append, so a crash tears at most the last one; readers skip a
/// torn last line.
class RunDirectory {
 public:
  /// Creates directory, and in it logs/ and ckpt/, if they are missing.
  RunDirectory(FileSystem& files, const std::string& directory);

  void write_inputs(const Recipe& recipe, const Plan& plan);
  /// environment.json.
  void write_environment(const Environment& environment);
  /// The one of the start before; empty when there is none that can be read.
  std::optional<Environment> environment() const;
  /// cluster.textproto: what the plan was made from.
  void write_cluster(const ClusterProfile& cluster);
  /// cluster.measured.textproto: the same, corrected by what the steps measured.
  void write_measured_cluster(const ClusterProfile& cluster);
  void write_timeline(const std::vector<TimelineSpan>& spans);
  /// ops.json
  void write_ops(const std::vector<OpProfile>& profiles);
  /// Copies tokenizer.json out of the data directory if there is one, so that samples and exports
  /// need only the run.
  void keep_tokenizer(const std::string& data_directory);
  void step(const StepRecord& record);
  void event(const std::string& json);
  /// report.html from what the directory holds; returns its path.
  std::string write_report();

  std::string ckpt() const { return directory_ + "/ckpt"; }

 private:
  FileSystem& files_;
  const std::string directory_;
  std::unique_ptr<WritableFile> steps_, events_;
};

}  // namespace kente
