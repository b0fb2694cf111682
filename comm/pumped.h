#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "comm/communicator.h"

namespace kente {

/// How a rank whose tensors lie in a GPU's memory talks to the others. One thread.
struct DeviceCommunicators {
  /// For buffers in the device's memory. Operations leave behind the work that is queued in compute
  /// when they are called; work queued there after wait() returned sees what arrived.
  std::unique_ptr<Communicator> tensors;
  /// For buffers of the host: inner, but that who waits here lets the other's operations go on. To
  /// be used instead of inner, since a peer may wait for these before it answers.
  std::unique_ptr<Communicator> host;
};

/// Operations of one rank that are under way and need its host to go on.
struct Pump {
  std::vector<Work*> under_way;
  /// Lets everything go on that can.
  void go_on() {
    for (size_t i = 0; i < under_way.size(); ++i) under_way[i]->done();
  }
};

/// Of what shares it; lives as long as that.
template <typename Owner>
std::shared_ptr<Pump> pump_of(const std::shared_ptr<Owner>& owner) {
  return {owner, &owner->pump};
}

/// Base of communicators that work through another one, and let what is under way go on.
class OverInner : public Communicator {
 public:
  OverInner(std::shared_ptr<Pump> pump, Communicator& inner)
      : pump_(std::move(pump)), inner_(inner) {}
  /// Of a split.
  OverInner(std::shared_ptr<Pump> pump, std::unique_ptr<Communicator> inner)
      : pump_(std::move(pump)), owned_(std::move(inner)), inner_(*owned_) {}

  int rank() const override { return inner_.rank(); }
  int size() const override { return inner_.size(); }
  void progress() override {
    pump_->go_on();
    inner_.progress();
  }
  void abort(int status) override { inner_.abort(status); }

 protected:
  const std::shared_ptr<Pump> pump_;
  const std::unique_ptr<Communicator> owned_;  // inner_, of a split
  Communicator& inner_;
};

/// The host's operations of inner, which must outlive it, in whose waits all others go on.
std::unique_ptr<Communicator> make_pumped(std::shared_ptr<Pump> pump, Communicator& inner);

}  // namespace kente
