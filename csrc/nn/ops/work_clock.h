#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace kente {

/// When a device got where in its queued work. One thread.
class WorkClock {
 public:
  virtual ~WorkClock() = default;
  /// A point behind all that is queued now.
  virtual void mark() = 0;
  /// Every mark has been passed.
  virtual bool passed() = 0;
  /// Appends when each mark since the last take() was passed, in ns on the clock of now_ns(), and
  /// forgets them. Waits until they are; a GPU's clock is set anew then, so better when it is idle.
  virtual void take(std::vector<int64_t>& times) = 0;
};

/// Of work that the calling thread does itself, by a clock of the host's.
class HostClock : public WorkClock {
 public:
  explicit HostClock(std::function<int64_t()> now) : now_(std::move(now)) {}
  void mark() override { marks_.push_back(now_()); }
  bool passed() override { return true; }
  void take(std::vector<int64_t>& times) override {
    times.insert(times.end(), marks_.begin(), marks_.end());
    marks_.clear();
  }

 private:
  const std::function<int64_t()> now_;
  std::vector<int64_t> marks_;
};

/// How long work took on the clock, which has no marks. Waits for it.
inline double seconds_of(WorkClock& clock, const std::function<void()>& work) {
  std::vector<int64_t> times;
  clock.mark();
  work();
  clock.mark();
  clock.take(times);
  return static_cast<double>(times.back() - times.front()) * 1e-9;
}

}  // namespace kente
