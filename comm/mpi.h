#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "comm/communicator.h"

namespace kente {

/// The MPI library's name and version: "Open MPI v4.1.4".
std::string mpi_library();

/// This process's part in an MPI job, from MPI_Init_thread (funneled: only the thread that made it
/// may call) to MPI_Finalize. Made once, in main; must outlive every communicator.
///
/// A job in which an operation was given up, or that ends by an exception, is not finalized:
/// MPI_Finalize waits for peers that may be gone. The process then ends without it and mpirun ends
/// the others.
class MpiSession {
 public:
  /// argc and argv as main got them; may be null. Throws PeerError when MPI cannot start.
  MpiSession(int* argc, char*** argv);
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  /// All ranks of the job; a collective. Reductions: integers wrap, f16 and bf16 are refused with
  /// InternalError. Collectives run in pieces of at most piece_bytes, two at a time, in the order
  /// in which they were called; messages in pieces of at most 1 GiB. A Work must not
  /// outlive its communicator.
  std::unique_ptr<Communicator> world(int64_t piece_bytes = int64_t{4} << 20);

  /// Rank and number of ranks on this node.
  int local_rank() const;
  int local_size() const;
  const std::string& host_name() const;

  struct State;  // mpi.cpp's own

 private:
  std::unique_ptr<State> state_;
};

}  // namespace kente
