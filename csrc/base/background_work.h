#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include "csrc/base/bounded_queue.h"

namespace kente {

/// A thread that does one piece of work after another for one owner, which asks whether it is done.
class BackgroundWork {
 public:
  BackgroundWork() : thread_([this] { run(); }) {}
  /// Waits for the work under way.
  ~BackgroundWork() {
    jobs_.close();
    thread_.join();
  }
  BackgroundWork(const BackgroundWork&) = delete;
  BackgroundWork& operator=(const BackgroundWork&) = delete;

  /// Not while working(). What the work reads and writes is the thread's until working() is false.
  void start(std::function<void()> work) {
    failure_ = nullptr;
    working_.store(true, std::memory_order_release);
    jobs_.push(std::move(work));
  }
  bool working() const { return working_.load(std::memory_order_acquire); }
  void wait() const { working_.wait(true, std::memory_order_acquire); }
  /// Throws what the last work threw. Not while working().
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void run() {
    while (const std::optional<std::function<void()>> job = jobs_.pop()) {
      try {
        (*job)();
      } catch (...) {  // kept for the owner
        failure_ = std::current_exception();
      }
      working_.store(false, std::memory_order_release);
      working_.notify_all();
    }
  }

  std::exception_ptr failure_;
  std::atomic<bool> working_{false};
  BoundedQueue<std::function<void()>> jobs_{1};
  std::thread thread_;  // last: it uses the others
};

}  // namespace kente
