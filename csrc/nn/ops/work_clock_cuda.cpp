#include "csrc/base/errors.h"
#include "csrc/nn/ops/gpu_ops.h"

namespace kente {

/// Events in the stream. What the host's clock says at one of them is found out while the device is
/// idle.
class GpuOps::Clock : public WorkClock {
 public:
  explicit Clock(GpuOps& ops) : ops_(ops), origin_(ops.device_.make_timed_event()) { set_origin(); }

  void mark() override {
    if (used_ == marks_.size()) marks_.push_back(ops_.device_.make_timed_event());
    ops_.stream_.record(*marks_[used_++]);
  }

  bool passed() override { return used_ == 0 || marks_[used_ - 1]->passed(); }

  void take(std::vector<int64_t>& times) override {
    if (used_ == 0) return;
    wait_for(*marks_[used_ - 1]);
    for (size_t i = 0; i < used_; ++i)
      times.push_back(origin_ns_ + static_cast<int64_t>(
                                       1e9 * ops_.device_.seconds_between(*origin_, *marks_[i])));
    used_ = 0;
    // Milliseconds in a float: only near the origin they are exact.
    set_origin();
  }

 private:
  void set_origin() {
    ops_.stream_.record(*origin_);
    wait_for(*origin_);
    origin_ns_ = now_ns();
  }
  static void wait_for(Event& event) {
    event.wait(Deadline::after_seconds(kLongestWaitSeconds), "a step's times");
  }

  GpuOps& ops_;
  const std::unique_ptr<Event> origin_;
  int64_t origin_ns_ = 0;
  std::vector<std::unique_ptr<Event>> marks_;
  size_t used_ = 0;  // of marks_
};

std::unique_ptr<WorkClock> GpuOps::work_clock() { return std::make_unique<Clock>(*this); }

}  // namespace kente
