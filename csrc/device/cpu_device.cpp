#include <cstring>
#include <new>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/device/device.h"

namespace kente {
namespace {

constexpr auto kAlignment = std::align_val_t{256};

class CpuEvent : public Event {
 public:
  bool passed() override { return true; }
  int64_t passed_ns = 0;
};

class CpuStream : public Stream {
 public:
  void* native() const override { return nullptr; }
  void record(Event& event) override { dynamic_cast<CpuEvent&>(event).passed_ns = now_ns(); }
  void wait_for(const Event&) override {}
  void copy(void* to, const void* from, int64_t bytes) override {
    std::memmove(to, from, static_cast<size_t>(bytes));
  }
  void clear(void* at, int64_t bytes) override { std::memset(at, 0, static_cast<size_t>(bytes)); }
};

class CpuDevice : public Device {
 public:
  DeviceFacts facts() override {
    DeviceFacts facts;
    facts.name = "CPU";
    return facts;
  }
  DeviceMemory allocate(int64_t bytes) override {
    void* data = ::operator new(static_cast<size_t>(bytes), kAlignment, std::nothrow);
    if (data == nullptr) throw DeviceError("no memory for " + std::to_string(bytes) + " bytes");
    return {static_cast<std::byte*>(data), bytes,
            [](std::byte* at) { ::operator delete(at, kAlignment); }};
  }
  DeviceMemory allocate_pinned(int64_t bytes) override { return allocate(bytes); }
  std::unique_ptr<Stream> make_stream(Urgency) override { return std::make_unique<CpuStream>(); }
  std::unique_ptr<Event> make_event() override { return std::make_unique<CpuEvent>(); }
  std::unique_ptr<Event> make_timed_event() override { return make_event(); }
  double seconds_between(const Event& from, const Event& to) override {
    return static_cast<double>(dynamic_cast<const CpuEvent&>(to).passed_ns -
                               dynamic_cast<const CpuEvent&>(from).passed_ns) *
           1e-9;
  }
};

}  // namespace

std::unique_ptr<Device> make_cpu_device() { return std::make_unique<CpuDevice>(); }

}  // namespace kente
