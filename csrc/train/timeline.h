#pragma once

#include <functional>
#include <vector>

#include "comm/communicator.h"
#include "csrc/report/run_record.h"
#include "csrc/train/pipe_runner.h"

namespace kente {

/// Runs a step and returns what every rank did when: seconds since the barrier before it. A
/// collective; every rank gets all spans.
std::vector<TimelineSpan> timeline_of(const std::function<void()>& step, PipeRunner& runner,
                                      Communicator& world, const Deadline& deadline);

}  // namespace kente
