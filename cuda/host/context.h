#pragma once

#include <cstddef>
#include <memory>

namespace kente::cuda::host {

/// Where a thread of control stands while another runs on the same OS thread.
class Context {
 public:
  Context();
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  /// The first switch to it calls entry, which must never return, on that stack.
  void prepare(std::byte* stack, size_t bytes, void (*entry)());
  /// Leaves off here, to go on when somebody switches back, and goes on there.
  void switch_to(Context& other);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace kente::cuda::host
