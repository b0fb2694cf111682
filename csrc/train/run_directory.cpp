#include "csrc/train/run_directory.h"

#include "csrc/base/errors.h"
#include "csrc/config/parse.h"

namespace kente {
namespace {

constexpr int64_t kTokenizerCap = 64 << 20;
constexpr int64_t kEnvironmentCap = 16 << 20;

}  // namespace

RunDirectory::RunDirectory(FileSystem& files, const std::string& directory)
    : files_(files), directory_(directory) {
  files_.make_directories(directory + "/logs");
  files_.make_directories(directory + "/ckpt");
}

void RunDirectory::write_inputs(const Recipe& recipe, const Plan& plan) {
  write_text_file(files_, directory_ + "/recipe.textproto", to_text(recipe));
  write_text_file(files_, directory_ + "/plan.textproto", to_text(plan));
}

void RunDirectory::write_environment(const Environment& environment) {
  write_text_file(files_, directory_ + "/environment.json", to_json(environment));
}

std::optional<Environment> RunDirectory::environment() const {
  const std::string path = directory_ + "/environment.json";
  if (!files_.exists(path)) return std::nullopt;
  try {
    return parse_environment(read_text_file(path, kEnvironmentCap), path);
  } catch (const Error& unreadable) {
    return std::nullopt;
  }
}

void RunDirectory::write_cluster(const ClusterProfile& cluster) {
  write_text_file(files_, directory_ + "/cluster.textproto", to_text(cluster));
}

void RunDirectory::write_measured_cluster(const ClusterProfile& cluster) {
  write_text_file(files_, directory_ + "/cluster.measured.textproto", to_text(cluster));
}

void RunDirectory::write_timeline(const std::vector<TimelineSpan>& spans) {
  write_text_file(files_, directory_ + "/timeline.json", to_json(spans));
}

void RunDirectory::write_ops(const std::vector<OpProfile>& profiles) {
  write_text_file(files_, directory_ + "/ops.json", to_json(profiles));
}

void RunDirectory::keep_tokenizer(const std::string& data_directory) {
  const std::string from = data_directory + "/tokenizer.json";
  if (files_.exists(from))
    write_text_file(files_, directory_ + "/tokenizer.json", read_text_file(from, kTokenizerCap));
}

void RunDirectory::step(const StepRecord& record) {
  if (!steps_) steps_ = files_.open_append(directory_ + "/run.jsonl");
  const std::string line = to_json(record) + "\n";
  steps_->append(line.data(), static_cast<int64_t>(line.size()));
}

void RunDirectory::event(const std::string& json) {
  if (!events_) events_ = files_.open_append(directory_ + "/events.jsonl");
  const std::string line = json + "\n";
  events_->append(line.data(), static_cast<int64_t>(line.size()));
}

std::string RunDirectory::write_report() {
  std::string path = directory_ + "/report.html";
  write_text_file(files_, path, report_html(read_run(files_, directory_)));
  return path;
}

}  // namespace kente
