#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "csrc/nn/ops/ops.h"

namespace kente {

/// Points on the calling thread, which does all the work, or waits for an imitated device's.
class ThreadClock : public WorkClock {
 public:
  explicit ThreadClock(std::function<int64_t()> now) : now_(std::move(now)) {}
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

}  // namespace kente
