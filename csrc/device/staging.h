#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "csrc/device/device.h"

namespace kente {

/// Pinned memory for copies from and to the host, used again when what used it is done. One thread.
class Staging {
 public:
  explicit Staging(Device& device) : device_(device) {}

  class Place {
   public:
    Place(DeviceMemory memory, std::unique_ptr<Event> event)
        : memory_(std::move(memory)), event_(std::move(event)) {}
    std::byte* data() const { return memory_.data(); }
    int64_t bytes() const { return memory_.bytes(); }
    /// For whoever has the place; give_back() records it.
    Event& event() const { return *event_; }

   private:
    DeviceMemory memory_;
    std::unique_ptr<Event> event_;
  };

  /// Of at least so many bytes; nothing uses it.
  Place take(int64_t bytes);
  /// What is queued in that stream now may still use it.
  void give_back(Place place, Stream& stream);
  /// Queues a copy to the device's memory and gives the place back.
  void upload(Place place, void* to, int64_t bytes, Stream& stream);

 private:
  Device& device_;
  std::vector<Place> places_;
};

}  // namespace kente
