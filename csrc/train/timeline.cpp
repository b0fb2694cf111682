#include "csrc/train/timeline.h"

#include "csrc/base/clock.h"
#include "csrc/train/gather.h"

namespace kente {

std::vector<TimelineSpan> timeline_of(const std::function<void()>& step, PipeRunner& runner,
                                      Communicator& world, const Deadline& deadline) {
  world.barrier(deadline);
  const double start = static_cast<double>(now_ns()) * 1e-9;
  runner.clock().record_spans(true);
  step();
  runner.clock().record_spans(false);
  std::vector<TimelineSpan> spans = runner.clock().take_spans();
  for (TimelineSpan& span : spans) {
    span.begin -= start;
    span.end -= start;
  }
  std::vector<TimelineSpan> all;
  for (const std::string& text : all_gather_text(world, to_json(spans), deadline)) {
    const std::vector<TimelineSpan> some = parse_timeline(text, "a rank's timeline");
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace kente
