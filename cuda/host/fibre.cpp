#include "cuda/host/fibre.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <exception>
#include <new>

// This file is itself not instrumented by ThreadSanitizer, so KENTE_FIBRES_UNDER_TSAN says that the
// rest of the program is.
#if defined(KENTE_FIBRES_UNDER_TSAN)
#include <sanitizer/tsan_interface.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace kente::cuda::host {
namespace {

constexpr size_t kStackBytes = size_t{128} << 10;

// A context's entry has no argument: the fibre that is resumed, by OS thread.
thread_local Fibre* beginning = nullptr;

size_t page_bytes() { return static_cast<size_t>(::sysconf(_SC_PAGESIZE)); }

}  // namespace

// Below the stack lies a page that nobody may touch.
Fibre::Fibre() {
  void* mapping = ::mmap(nullptr, page_bytes() + kStackBytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (mapping == MAP_FAILED) throw std::bad_alloc();
  mapping_ = static_cast<std::byte*>(mapping);
  if (::mprotect(mapping_, page_bytes(), PROT_NONE) != 0) throw std::bad_alloc();
#if defined(KENTE_FIBRES_UNDER_TSAN)
  thread_ = __tsan_create_fiber(0);
#endif
}

Fibre::~Fibre() {
  if (begun_ && finished_) {
    last_ = true;
    resume();
  }
#if defined(KENTE_FIBRES_UNDER_TSAN)
  __tsan_destroy_fiber(thread_);
#endif
  ::munmap(mapping_, page_bytes() + kStackBytes);
}

void Fibre::start(void (*entry)(void*), void* argument) {
  entry_ = entry;
  argument_ = argument;
  finished_ = false;
  if (begun_) return;
  begun_ = true;
  inside_.prepare(mapping_ + page_bytes(), kStackBytes, &Fibre::begin);
}

void Fibre::begin() { beginning->run(); }

// One frame for all entries: AddressSanitizer's second stack is made once, not for each of them.
void Fibre::run() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &outside_stack_, &outside_bytes_);
#endif
  while (!last_) {
    entry_(argument_);
    finished_ = true;
    suspend();
  }
  leave(nullptr);
}

void Fibre::resume() {
  [[maybe_unused]] void* fake_stack = nullptr;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fake_stack, mapping_ + page_bytes(), kStackBytes);
#endif
#if defined(KENTE_FIBRES_UNDER_TSAN)
  outside_thread_ = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(thread_, __tsan_switch_to_fiber_no_sync);
#endif
  beginning = this;
  outside_.switch_to(inside_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

void Fibre::suspend() {
  leave(&fake_stack_);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake_stack_, &outside_stack_, &outside_bytes_);
#endif
}

// With no place for the fake stack it is thrown away: nothing runs here again.
void Fibre::leave([[maybe_unused]] void** fake_stack) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fake_stack, outside_stack_, outside_bytes_);
#endif
#if defined(KENTE_FIBRES_UNDER_TSAN)
  __tsan_switch_to_fiber(outside_thread_, __tsan_switch_to_fiber_no_sync);
#endif
  inside_.switch_to(outside_);
}

Fibre::Outside::Outside(Fibre& fibre) : fibre_(fibre) {
#if defined(KENTE_FIBRES_UNDER_TSAN)
  __tsan_switch_to_fiber(fibre_.outside_thread_, __tsan_switch_to_fiber_no_sync);
#endif
}

Fibre::Outside::~Outside() {
#if defined(KENTE_FIBRES_UNDER_TSAN)
  const bool thrown = std::uncaught_exceptions() > 0;
  if (thrown) __tsan_release(this);  // the fibre will catch what its scheduler allocated
  __tsan_switch_to_fiber(fibre_.thread_, __tsan_switch_to_fiber_no_sync);
  if (thrown) __tsan_acquire(this);
#endif
}

void Fibre::release([[maybe_unused]] void* place) {
#if defined(KENTE_FIBRES_UNDER_TSAN)
  __tsan_release(place);
#endif
}

void Fibre::give_up([[maybe_unused]] void* place) {
#if defined(KENTE_FIBRES_UNDER_TSAN)
  void* const outside = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(thread_, __tsan_switch_to_fiber_no_sync);
  __tsan_release(place);
  __tsan_switch_to_fiber(outside, __tsan_switch_to_fiber_no_sync);
#endif
}

void Fibre::acquire([[maybe_unused]] void* place) {
#if defined(KENTE_FIBRES_UNDER_TSAN)
  __tsan_acquire(place);
#endif
}

}  // namespace kente::cuda::host
