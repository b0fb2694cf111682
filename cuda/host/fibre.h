#pragma once

#include <cstddef>

#include "cuda/host/context.h"

namespace kente::cuda::host {

/// One kernel thread: a stack of its own, between whose steps its scheduler runs. A fibre stays on
/// the OS thread that made it. AddressSanitizer and ThreadSanitizer are told of every switch.
class Fibre {
 public:
  Fibre();
  ~Fibre();
  Fibre(const Fibre&) = delete;
  Fibre& operator=(const Fibre&) = delete;

  /// The next resume() begins entry(argument). Only when nothing was begun, or that has returned.
  void start(void (*entry)(void*), void* argument);
  /// Runs it until it calls suspend() or returns.
  void resume();
  /// Back to resume(), which is called from outside. Only from inside.
  void suspend();
  bool finished() const { return finished_; }

  /// While it lives, what this fibre does is done by its scheduler, as ThreadSanitizer sees it.
  class Outside {
   public:
    explicit Outside(Fibre& fibre);
    ~Outside();
    Outside(const Outside&) = delete;
    Outside& operator=(const Outside&) = delete;

   private:
    Fibre& fibre_;
  };

  /// What a fibre did before release() is seen by those that acquire() the same place after it;
  /// only ThreadSanitizer asks.
  static void release(void* place);
  static void acquire(void* place);
  /// For a fibre that is suspended and will not be resumed: releases in its place.
  void give_up(void* place);

 private:
  static void begin();
  void run();
  void leave(void** fake_stack);

  std::byte* mapping_;
  Context inside_, outside_;
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  bool begun_ = false;  // there is a frame on its stack, which waits for the next entry
  bool finished_ = true;
  bool last_ = false;           // and will find that there is none
  void* fake_stack_ = nullptr;  // AddressSanitizer's, while it is suspended
  const void* outside_stack_ = nullptr;
  size_t outside_bytes_ = 0;
  void* thread_ = nullptr;          // ThreadSanitizer's name for it
  void* outside_thread_ = nullptr;  // and for its scheduler
};

}  // namespace kente::cuda::host
