#pragma once

#include <cstdint>
#include <memory>

#include "csrc/base/buffer_view.h"
#include "csrc/base/clock.h"

namespace kente {

enum class ReduceOp { kSum, kMin, kMax };

/// An operation under way. The buffers it was started with must live until wait() returned.
class Work {
 public:
  virtual ~Work() = default;
  /// True once it is complete; makes progress.
  virtual bool done() = 0;
  /// Returns when complete. Throws PeerError, naming the operation and the peer, when the deadline
  /// passes or a peer is lost: the buffers may still be in use, so the process must end.
  virtual void wait(const Deadline& deadline) = 0;
};

/// Ranks that talk to each other. Collectives are called by all ranks in the same order; a
/// collective's buffers have the same count and dtype on every rank. Point-to-point messages of one
/// (source, destination, tag) arrive in order. One thread per rank calls it.
///
/// all_reduce of integers wraps. all_reduce of floats adds in an order that depends only on size(),
/// rank and count, so it repeats bit for bit.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Blocks or not like MPI's standard mode: the buffer must stay until the work is done.
  virtual std::unique_ptr<Work> isend(BufferView data, int to, int tag) = 0;
  virtual std::unique_ptr<Work> irecv(BufferView data, int from, int tag) = 0;
  /// In place.
  virtual std::unique_ptr<Work> all_reduce(BufferView data, ReduceOp op) = 0;
  /// input [size() * count] -> output [count]: rank r gets the sum of everybody's r-th part.
  virtual std::unique_ptr<Work> reduce_scatter(BufferView input, BufferView output) = 0;
  /// input [count] -> output [size() * count], in rank order.
  virtual std::unique_ptr<Work> all_gather(BufferView input, BufferView output) = 0;
  virtual std::unique_ptr<Work> broadcast(BufferView data, int root) = 0;
  virtual void barrier(const Deadline& deadline) = 0;
  /// Ranks with equal color form a communicator, ordered by key, then rank; null for a negative
  /// color. A collective over this communicator.
  virtual std::unique_ptr<Communicator> split(int color, int key) = 0;
  /// Lets operations under way advance, those of communicators made by split() too; cheap, called
  /// between layer operations.
  virtual void progress() = 0;
  /// Ends every rank of the job with the given exit status; does not return in an mpi job.
  virtual void abort(int status) = 0;
};

}  // namespace kente
