#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"

namespace kente {

/// A part of an operation that the transport carries as one request. One thread.
class Request {
 public:
  virtual ~Request() = default;
  virtual void start() = 0;
  /// True once it is complete; makes progress. Only after start().
  virtual bool test() = 0;
  /// Called instead of the rest, started or not. Never blocks; false when the transport may still
  /// use the buffers.
  virtual bool give_up() = 0;
};

class PiecewiseWork;

/// The collectives of one communicator. Their requests are started strictly in the order of the
/// calls, which is the same on all ranks, a few at a time: what a transport copies for a request
/// stays small.
class CollectiveQueue {
 public:
  bool empty() const { return works_.empty(); }
  /// Starts and finishes requests as far as possible now.
  void pump();

 private:
  friend class PiecewiseWork;
  std::deque<PiecewiseWork*> works_;
};

/// An operation made of requests.
class PiecewiseWork : public Work {
 public:
  /// queue: for collectives; null for messages, which start at once. It and given_up must outlive
  /// the work. text: "rank 0: irecv of 4 f32, peer rank 1", for messages. *given_up becomes true
  /// when the work is destroyed while its buffers may be in use.
  PiecewiseWork(CollectiveQueue* queue, std::string text,
                std::vector<std::unique_ptr<Request>> requests, bool* given_up);
  PiecewiseWork(const PiecewiseWork&) = delete;
  PiecewiseWork& operator=(const PiecewiseWork&) = delete;
  ~PiecewiseWork() override;

  bool done() override;
  void wait(const Deadline& deadline) override;

 private:
  friend class CollectiveQueue;
  /// Starts requests while room is left and tests those under way; each takes one off room.
  void advance(int& room);
  bool finished() const { return finished_ == requests_.size(); }

  CollectiveQueue* const queue_;
  const std::string text_;
  const std::vector<std::unique_ptr<Request>> requests_;
  bool* const given_up_;
  size_t started_ = 0;          // requests before it were started
  size_t finished_ = 0;         // requests before it are complete
  std::vector<bool> complete_;  // per request
};

}  // namespace kente
