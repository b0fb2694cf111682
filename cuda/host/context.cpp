#include <cstdint>

#include "cuda/host/context.h"

// kente_switch_stack(&left_off, go_on): what a function must preserve for its caller goes onto the
// stack, and the stack pointer is exchanged. Source: System V ABI, AMD64 supplement, 3.2.1.
asm(R"(
.text
.globl kente_switch_stack
.type kente_switch_stack, @function
kente_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size kente_switch_stack, .-kente_switch_stack
)");

extern "C" void kente_switch_stack(void** left_off, void* go_on);

namespace kente::cuda::host {

struct Context::State {
  void* stack_pointer = nullptr;
};

Context::Context() : state_(std::make_unique<State>()) {}
Context::~Context() = default;

void Context::prepare(std::byte* stack, size_t bytes, void (*entry)()) {
  constexpr uintptr_t kAlignment = 16;
  constexpr int kPreserved = 6;
  const uintptr_t top = reinterpret_cast<uintptr_t>(stack + bytes) & ~(kAlignment - 1);
  auto* at = reinterpret_cast<uintptr_t*>(top);
  *--at = 0;  // entry finds the stack as if it had been called, from nowhere
  *--at = reinterpret_cast<uintptr_t>(entry);
  for (int i = 0; i < kPreserved; ++i) *--at = 0;
  state_->stack_pointer = at;
}

void Context::switch_to(Context& other) {
  kente_switch_stack(&state_->stack_pointer, other.state_->stack_pointer);
}

}  // namespace kente::cuda::host
