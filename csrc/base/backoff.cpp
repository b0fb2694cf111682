#include "csrc/base/backoff.h"

#include <sched.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cstdio>
#include <ctime>

namespace kente {
namespace {

constexpr int64_t kYieldNs = 50'000;
constexpr long kSleepNs = 20'000;
constexpr int64_t kLongestNapNs = 100'000;
constexpr unsigned long kTimerSlackNs = 1'000;

}  // namespace

void Backoff::pause() {
  const int64_t now = now_ns();
  if (started_ns_ == 0) started_ns_ = now;
  if (now - started_ns_ < kYieldNs) {
    sched_yield();
    return;
  }
  const timespec nap = {.tv_sec = 0, .tv_nsec = kSleepNs};
  nanosleep(&nap, nullptr);
}

void nap_until(int64_t at_ns) {
  const int64_t now = now_ns();
  const int64_t length = std::min(at_ns - now, kLongestNapNs);
  if (length <= 0) return;
  prctl(PR_SET_TIMERSLACK, kTimerSlackNs, 0, 0, 0);
  const timespec nap = {.tv_sec = 0, .tv_nsec = static_cast<long>(length)};
  nanosleep(&nap, nullptr);
}

std::string no_answer_within(const Deadline& deadline) {
  char text[64];
  std::snprintf(text, sizeof text, "no answer within %g s; resume the run",
                deadline.seconds_given());
  return text;
}

}  // namespace kente
