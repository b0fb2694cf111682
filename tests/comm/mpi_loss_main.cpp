// How a job ends when a rank is lost; tests look at mpirun's exit status. argv[1]: "abort", rank 0
// waits while rank 1 aborts with status 3; "deadline", rank 0 gives up a receive and a send that
// nobody answers and ends by the exception; "gone", rank 1 ends by an exception, rank 0 waits for
// it.

#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/mpi.h"
#include "csrc/base/errors.h"

namespace {

using kente::Deadline;
using kente::DType;

void run(const std::string& how, kente::MpiSession& session) {
  const auto comm = session.world();
  std::vector<float> values(1 << 20);
  const kente::BufferView view = {values.data(), static_cast<int64_t>(values.size()), DType::kF32};
  const Deadline long_time = Deadline::after_seconds(60);
  if (comm->rank() == 0) {
    const auto send = comm->isend(view, 1, 1);
    comm->irecv(view, 1, 0)->wait(how == "deadline" ? Deadline::after_seconds(0.3) : long_time);
  } else {
    if (how == "abort") comm->abort(3);
    if (how == "gone") throw kente::PeerError("rank 1: the fault made on purpose");
    comm->irecv(view, 0, 7)->wait(long_time);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    kente::MpiSession session(&argc, &argv);
    run(argc > 1 ? argv[1] : "", session);
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
    return static_cast<int>(kente::exit_status(failure));
  }
  return 0;
}
