#include "tests/support/train_on_threads.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <array>
#include <bit>
#include <cstdio>
#include <exception>
#include <thread>

#include "comm/local.h"
#include "csrc/base/log_file.h"
#include "csrc/train/gather.h"
#include "tests/support/hooked_file_system.h"

namespace kente {

std::vector<std::string> ThreadedRun::loss_bits() const {
  std::vector<std::string> bits;
  for (const StepReport& step : steps) {
    std::array<char, 9> text{};
    std::snprintf(text.data(), text.size(), "%08x", std::bit_cast<uint32_t>(step.loss));
    bits.emplace_back(text.data());
  }
  return bits;
}

ThreadedRun train_on_threads(const ThreadedOptions& options, int ranks) {
  at::set_num_threads(1);
  auto worlds = make_local(ranks);
  ThreadedRun run;
  std::vector<std::exception_ptr> failures(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  threads.reserve(worlds.size());
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      const auto index = static_cast<size_t>(rank);
      at::globalContext().setFlushDenormal(true);
      TrainOptions train_options = options.train;
      train_options.ceiling_seconds = 0;  // one product: nobody looks at it
      train_options.run_directory =
          options.run_directories.at(options.run_directories.size() > 1 ? index : 0);
      if (!options.snapshot_directories.empty())
        train_options.snapshots = options.snapshot_directories.at(index);
      train_options.after_step = [&](const StepReport& report) {
        if (rank == 0) run.steps.push_back(report);
        if (options.on_step) options.on_step(rank, report);
      };
      try {
        HookedFileSystem files([&](std::string_view operation, const std::string& path) {
          if (options.on_file) options.on_file(rank, operation, path);
        });
        const auto log = null_log();
        const TrainResult result = options.train_rank(train_options, *worlds[index], files, *log);
        if (rank == 0) run.result = result;
      } catch (...) {  // handed over to the caller below
        failures[index] = std::current_exception();
        worlds[index]->abort(static_cast<int>(ExitStatus::kPeer));
      }
    });
  for (std::thread& thread : threads) thread.join();
  // The first cause, not the peers' reaction to it.
  for (const std::exception_ptr& failure : failures) {
    if (!failure) continue;
    try {
      std::rethrow_exception(failure);
    } catch (const PeerError&) {
      continue;
    }
  }
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
  return run;
}

}  // namespace kente
