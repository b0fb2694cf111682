#include "csrc/data/loader.h"

#include <exception>
#include <thread>
#include <utility>

#include "csrc/base/bounded_queue.h"
#include "csrc/base/errors.h"

namespace kente {
namespace {

// Steps read ahead: enough to hide a page fault, little memory.
constexpr size_t kStepsAhead = 4;

/// What the thread hands over: a step's micro-batches, or why there are none.
struct LoadedStep {
  std::vector<MicroBatch> batches;
  std::exception_ptr failure;
};

}  // namespace

struct Loader::State {
  BoundedQueue<LoadedStep> queue{kStepsAhead};
  std::exception_ptr failure;  // met before; main thread only
  std::thread thread;

  ~State() {
    queue.close();
    if (thread.joinable()) thread.join();
  }
};

Loader::Loader(const TrainingData& data, const Recipe& recipe, std::vector<Slice> slices,
               int64_t first_step, int64_t end_step)
    : state_(std::make_unique<State>()) {
  const int64_t samples_per_step = recipe.samples_per_step();
  const int64_t grain_samples = recipe.grain_samples;
  state_->thread = std::thread([&data, queue = &state_->queue, slices = std::move(slices),
                                first_step, samples_per_step, grain_samples, end_step] {
    try {
      for (int64_t step = first_step; step < end_step; ++step) {
        LoadedStep loaded;
        for (const Slice& slice : slices)
          loaded.batches.push_back(
              data.load(step * samples_per_step + slice.first_grain * grain_samples,
                        slice.grains * grain_samples));
        if (!queue->push(std::move(loaded))) return;
      }
    } catch (const std::exception&) {
      queue->push({.batches = {}, .failure = std::current_exception()});
    }
    queue->close();
  });
}

Loader::~Loader() = default;

std::vector<MicroBatch> Loader::next() {
  if (state_->failure) std::rethrow_exception(state_->failure);
  std::optional<LoadedStep> step = state_->queue.pop();
  KENTE_CHECK(step.has_value(), "a step beyond the last was asked for");
  state_->failure = step->failure;
  if (state_->failure) std::rethrow_exception(state_->failure);
  return std::move(step->batches);
}

}  // namespace kente
