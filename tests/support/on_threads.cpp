#include "tests/support/on_threads.h"

#include <exception>
#include <thread>
#include <vector>

#include "comm/local.h"
#include "csrc/base/errors.h"

namespace kente {

void on_threads(int ranks, const std::function<void(Communicator& world)>& work) {
  auto worlds = make_local(ranks);
  std::vector<std::exception_ptr> failures(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (size_t rank = 0; rank < failures.size(); ++rank)
    threads.emplace_back([&, rank] {
      try {
        work(*worlds[rank]);
      } catch (...) {  // handed over to the caller below
        failures[rank] = std::current_exception();
        worlds[rank]->abort(static_cast<int>(ExitStatus::kPeer));
      }
    });
  for (std::thread& thread : threads) thread.join();
  // The first cause, not the peers' reaction to it.
  std::exception_ptr first;
  for (const std::exception_ptr& failure : failures) {
    if (!failure) continue;
    first = first ? first : failure;
    try {
      std::rethrow_exception(failure);
    } catch (const PeerError&) {
      continue;
    }
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace kente
