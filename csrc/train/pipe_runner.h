#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.h"
#include "csrc/base/progress_board.h"
#include "csrc/config/recipe.h"
#include "csrc/nn/chunk.h"
#include "csrc/plan/schedule.h"
#include "csrc/train/action_clock.h"
#include "csrc/train/pacer.h"

namespace kente {

/// The smallest power of two that is at least the recipe's global_batch_tokens: dlogits are seeded
/// with its inverse, and the optimizer multiplies by it again.
double padded_tokens(const Recipe& recipe);

/// Carries out a rank's list of actions: hands micro-batches through this rank's chunks and to its
/// neighbours. Compute runs on the calling thread; sends and the next receive are under way
/// meanwhile.
class PipeRunner {
 public:
  /// timeout_seconds: how long a neighbour may keep us waiting before PeerError. tensors: world for
  /// buffers on the parameters' device; null where that is the host.
  PipeRunner(const Recipe& recipe, const Mesh& mesh, const Plan& plan, Communicator& world,
             const Parameters& parameters, double timeout_seconds, Communicator* tensors = nullptr);

  /// What the collective actions do: set by the step, which owns gradients and optimizer.
  struct Hooks {
    GradSink* sink = nullptr;
    std::function<void(int bucket)> reduce;
    /// Tells the clock when its waiting for other ranks has ended.
    std::function<void()> step;
    std::function<void(int bucket)> gather;
    /// Head only: a micro-batch's sums, in their order, before the step.
    std::function<void(int micro_batch, const LossSums&)> loss;
  };

  /// sizes[m]: samples in micro-batch m. batches: those this rank reads itself, by micro-batch;
  /// empty unless it holds the first chunk.
  void run(const ActionList& actions, const std::vector<int64_t>& sizes,
           std::vector<MicroBatch> batches, const Hooks& hooks);
  /// Forward only: keeps nothing for a backward.
  void run_forward(const ActionList& actions, const std::vector<int64_t>& sizes,
                   std::vector<MicroBatch> batches, const Hooks& hooks);

  /// From now on gradients inside this rank's chunks are scale times as large, a power of two; what
  /// travels to and from neighbours is not. See csrc/train/gradient_scales.h.
  void scale_gradients(double scale);
  /// Since then, looked at only where scale is not 1: what came in, the loss included, was finite,
  /// and what went out.
  bool incoming_finite() const { return incoming_finite_; }
  bool outgoing_finite() const { return outgoing_finite_; }

  /// Computes at the pace of an imitated device; null: as fast as it can. Must outlive the runner.
  void set_pacer(Pacer* pacer) { pacer_ = pacer; }
  /// Told every action as it begins; null: nobody watches. Must outlive the runner.
  void set_board(ProgressBoard* board) { board_ = board; }

  /// Of all actions, always on.
  ActionClock& clock() { return clock_; }

 private:
  struct Receive {
    at::Tensor tensor;  // in the boundary dtype
    MicroBatch batch;   // with an activation
    std::unique_ptr<Work> data, fields;
  };
  struct Send {
    at::Tensor tensor;
    std::unique_ptr<Work> data, fields;
  };
  static void finish(Send& send, const Deadline& deadline);
  enum class Mode { kTrain, kEvaluate };

  void run_actions(const ActionList& actions, const Hooks& hooks);
  void carry_out(const Action& action, const Hooks& hooks);
  void post_next_receive(const ActionList& actions);
  at::Tensor finish_receive(const Action& action);
  void start_send(const Action& action, const at::Tensor& tensor);
  void forward(const Action& action);
  void loss(const Action& action);
  void take_losses(const Hooks& hooks);
  MicroBatch& batch(int micro_batch) { return batches_.at(static_cast<size_t>(micro_batch)); }
  Chunk& chunk(int index) { return *chunks_.at(index); }
  DType compute_of(int chunk) const;
  at::Tensor converted(const at::Tensor& tensor, at::ScalarType type) const;
  int tag(const Action& action, int part) const;

  const Recipe& recipe_;
  const Mesh& mesh_;
  const Plan& plan_;
  Communicator& world_;
  Communicator& tensors_;
  Ops& ops_;
  const double timeout_seconds_;
  const size_t most_sends_;  // under way at once
  const int replica_;
  std::map<int, std::unique_ptr<Chunk>> chunks_;  // by index in the replica

  // The step under way.
  Mode mode_ = Mode::kTrain;
  std::vector<int64_t> sizes_;
  std::vector<MicroBatch> batches_;
  std::map<std::pair<int, int>, at::Tensor>
      inputs_;  // (chunk, micro-batch) -> activation to start from
  std::map<std::pair<int, int>, at::Tensor> outputs_;  // ... -> activation, or gradient, to hand on
  std::map<std::pair<int, int>, at::Tensor> grads_;    // ... -> gradient of the output
  std::map<std::pair<int, int>, Receive> receives_;    // (tag, peer) -> posted ahead
  size_t next_receive_ = 0;                            // index into the actions
  std::vector<Send> sends_;
  std::vector<std::pair<int, PendingLoss>> losses_;  // by micro-batch, in order

  double scale_ = 1;
  bool incoming_finite_ = true, outgoing_finite_ = true;

  ActionClock clock_;
  Pacer* pacer_ = nullptr;
  ProgressBoard* board_ = nullptr;
};

}  // namespace kente
