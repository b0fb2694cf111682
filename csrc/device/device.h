#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "csrc/base/clock.h"

namespace kente {

/// What a device says of itself.
struct DeviceFacts {
  std::string name;
  std::string bus_id;          // PCI address; empty on a CPU, as all below is 0
  std::string id;              // as gpu_id() tells it
  int compute_capability = 0;  // 10 major + minor
  int64_t memory_bytes = 0;    // of its own
  int64_t free_bytes = 0;      // of them, now
  int driver_version = 0;      // 1000 major + 10 minor
  int runtime_version = 0;
};

/// One allocation, aligned to 256 bytes, its content unknown. Given back when the object ends:
/// nothing may be at work there then.
class DeviceMemory {
 public:
  using Free = std::function<void(std::byte*)>;
  DeviceMemory() = default;
  DeviceMemory(std::byte* data, int64_t bytes, Free free) : data_(data, free), bytes_(bytes) {}

  std::byte* data() const { return data_.get(); }
  int64_t bytes() const { return bytes_; }

 private:
  std::unique_ptr<std::byte, Free> data_;
  int64_t bytes_ = 0;
};

/// A point in a stream's work. Made once, recorded again and again.
class Event {
 public:
  virtual ~Event() = default;
  /// True once all that stood before it in its stream, when it was recorded last, has ended; true,
  /// too, if it never was. Throws DeviceError when the device has failed.
  virtual bool passed() = 0;
  /// Returns when it has passed, or throws DeviceError naming what was waited for: what the device
  /// was at work on may still be in use, so the process must end.
  void wait(const Deadline& deadline, const std::string& what);
};

/// Work that a device does in order. Nothing here waits for it; on a CPU all of it has ended when
/// the call returns. Every call throws DeviceError when the device has failed.
class Stream {
 public:
  virtual ~Stream() = default;
  /// For kernels and libraries: a cudaStream_t; null on a CPU.
  virtual void* native() const = 0;
  virtual void record(Event& event) = 0;
  /// What comes after starts when the event, as recorded last, has passed.
  virtual void wait_for(const Event& event) = 0;
  /// Between two places of this device's memory and of allocate_pinned()'s.
  virtual void copy(void* to, const void* from, int64_t bytes) = 0;
  /// Every byte becomes 0.
  virtual void clear(void* at, int64_t bytes) = 0;
};

/// Of two streams that have work the device takes the urgent one's first.
enum class Urgency { kUsual, kUrgent };

/// What one rank computes on. One thread at a time calls it and what it has made, which must end
/// before it.
class Device {
 public:
  virtual ~Device() = default;
  virtual DeviceFacts facts() = 0;
  /// Throws DeviceError, saying how much is free, where that does not fit.
  virtual DeviceMemory allocate(int64_t bytes) = 0;
  /// Memory of the host that streams copy to and from while both go on.
  virtual DeviceMemory allocate_pinned(int64_t bytes) = 0;
  virtual std::unique_ptr<Stream> make_stream(Urgency urgency) = 0;
  virtual std::unique_ptr<Event> make_event() = 0;
  /// An event that also knows when it passed, which costs the device a little.
  virtual std::unique_ptr<Event> make_timed_event() = 0;
  /// From the moment one timed event passed to that of a later one of this device; both have.
  virtual double seconds_between(const Event& from, const Event& to) = 0;
};

std::unique_ptr<Device> make_cpu_device();

/// GPUs of this node; 0 in a build without CUDA or where there is no driver. Throws DeviceError
/// when the driver is there and answers with an error.
int count_gpus();
/// Of a GPU, number below count_gpus(): the same for whoever sees it, whatever its number there.
std::string gpu_id(int number);
/// number: below count_gpus(), else UsageError.
std::unique_ptr<Device> make_gpu_device(int number);

}  // namespace kente
