#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/nccl_channel.h"
#include "comm/pumped.h"
#include "csrc/device/device.h"

namespace kente {

class NcclWork;
/// Operations that start one after the other.
using NcclOrder = std::deque<NcclWork*>;

/// What the communicators of one rank share.
struct NcclRank {
  NcclRank(Communicator& inner, Device& device, Stream& compute)
      : inner(inner), device(device), compute(compute) {}

  Communicator& inner;  // knows when a rank is lost
  Device& device;
  Stream& compute;
  Pump pump;
  NcclOrder collectives;                       // of all groups
  std::vector<std::unique_ptr<Event>> events;  // not in use
};

/// An operation of a channel: starts when it is the first of its order, the channel is ready and
/// the device got to where it was asked for.
class NcclWork : public Work {
 public:
  /// Starts it in an ncclComm_t and a cudaStream_t; returns an ncclResult_t.
  using Call = std::function<int(void* comm, void* stream)>;

  /// Whoever makes it puts it into order. what: for messages.
  NcclWork(NcclRank& rank, NcclChannel& channel, NcclOrder& order, std::string what, Call call);
  /// Whoever gives up an operation ends the process.
  ~NcclWork() override;
  NcclWork(const NcclWork&) = delete;
  NcclWork& operator=(const NcclWork&) = delete;

  bool done() override;
  void wait(const Deadline& deadline) override;

 private:
  enum class State { kWaiting, kStarting, kStarted, kFinished };
  bool begin();

  NcclRank& rank_;
  NcclChannel& channel_;
  NcclOrder& order_;
  const std::string what_;
  const Call call_;
  std::unique_ptr<Event> computed_, ended_;
  State state_ = State::kWaiting;
};

/// A message, as its sender announces it.
struct Announcement {
  int64_t tag = 0, bytes = 0;

  BufferView view() { return {.data = &tag, .count = 2, .dtype = DType::kI64}; }
};

/// Messages to one neighbour.
struct SendLane {
  std::unique_ptr<NcclChannel> channel;
  NcclOrder order;
};

/// Messages from one neighbour; they are received in the order in which it announces them.
struct ReceiveLane {
  struct Posted {
    int tag = 0;
    int64_t bytes = 0;
    NcclWork* work = nullptr;
  };
  std::unique_ptr<NcclChannel> channel;
  NcclOrder order;
  std::deque<Posted> posted;  // in the order of the calls, not announced yet
  Announcement next;
  std::unique_ptr<Work> announcement;  // on its way into next
  bool arrived = false;                // next is to be matched

  /// Asks for announcements while there are receives that wait for one.
  void go_on(Communicator& control, int from);
};

/// Where a message goes to or comes from, and the communicator that announces it.
struct NcclMessage {
  Communicator& control;
  int peer = 0, tag = 0;
  int64_t bytes = 0;
};

class SendWork : public NcclWork {
 public:
  SendWork(NcclRank& rank, SendLane& lane, const NcclMessage& message, std::string what, Call call);
  bool done() override;

 private:
  Announcement announced_;
  std::unique_ptr<Work> announcement_;
};

class ReceiveWork : public NcclWork {
 public:
  ReceiveWork(NcclRank& rank, ReceiveLane& lane, const NcclMessage& message, std::string what,
              Call call);
  ~ReceiveWork() override;
  bool done() override;

 private:
  ReceiveLane& lane_;
  Communicator& control_;
  const int from_;
};

}  // namespace kente
