#include "csrc/train/progress.h"

#include <fmt/format.h>

#include "csrc/base/clock.h"
#include "csrc/report/number_text.h"

namespace kente {
namespace {

constexpr int64_t kTerminalEvery = 100'000'000;  // ns
constexpr int64_t kPipeEvery = 5'000'000'000;

}  // namespace

Progress::Progress(std::FILE* out, Output output, int64_t steps)
    : out_(out), output_(output), steps_(steps) {}

Progress::~Progress() {
  if (shown_ > 0) std::fputc('\n', out_);
}

void Progress::step(const StepRecord& record, int64_t checkpoint_step) {
  if (output_ == Output::kQuiet) return;
  if (first_step_ == 0) first_step_ = record.step;
  seconds_ += record.seconds;
  const int64_t now = now_ns();
  const int64_t every = output_ == Output::kTerminal ? kTerminalEvery : kPipeEvery;
  if (record.step != steps_ && last_ns_ != 0 && now - last_ns_ < every) return;
  last_ns_ = now;
  const double per_step = seconds_ / static_cast<double>(record.step - first_step_ + 1);
  std::string line = fmt::format("step {}/{}  loss {:.4f}  {:.0f} tokens/s", record.step, steps_,
                                 record.loss, record.tokens_per_second);
  if (record.ceiling_fraction > 0)
    line += fmt::format("  {:.0f} % of ceiling", 100 * record.ceiling_fraction);
  line += "  " + duration_text(per_step * static_cast<double>(steps_ - record.step)) + " left";
  line += checkpoint_step > 0 ? fmt::format("  checkpoint {}", checkpoint_step) : "  no checkpoint";
  print(line);
}

void Progress::note(const std::string& line) {
  if (output_ == Output::kQuiet) return;
  if (shown_ > 0) std::fputc('\n', out_);
  shown_ = 0;
  fmt::print(out_, "{}\n", line);
  std::fflush(out_);
}

void Progress::print(const std::string& line) {
  if (output_ == Output::kTerminal) {
    fmt::print(out_, "\r{:<{}}", line, shown_);
    shown_ = line.size();
  } else {
    fmt::print(out_, "{}\n", line);
  }
  std::fflush(out_);
}

}  // namespace kente
