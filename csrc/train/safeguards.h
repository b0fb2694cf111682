#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "csrc/train/loss_guard.h"
#include "csrc/train/replica_check.h"
#include "csrc/train/step.h"

namespace kente {

/// What watches over the training itself: losses and gradients, and the bits of the replicas. Tells
/// the trainer what to do; all ranks are told the same.
class Safeguards {
 public:
  struct Options {
    int64_t check_replicas_every = 0;  // steps; 0: never
    double timeout_seconds = 600;
  };
  /// All must outlive it.
  Safeguards(const Recipe& recipe, const Mesh& mesh, Communicator& world, HostState& state,
             const Options& options);

  struct Event {
    std::string kind, detail;
  };
  struct Decision {
    std::vector<Event> events;
    std::optional<int64_t> go_back;  // to the newest stored step up to this one; 0: the start
    bool leave_out_data = false;     // what was used since; else it is used again
    std::string stop;                // why the run must end; empty: it goes on
  };
  /// A collective. will_save: the step is to be stored, and must be sound.
  Decision judge(const StepReport& report, bool will_save);
  void went_back(int64_t from, int64_t to, bool leave_out_data);

  /// Whose data a step uses, see LossGuard.
  int64_t data_step(int64_t step) const { return guard_.data_step(step); }
  /// A step to store, because training may have to go back to it.
  bool wants_stored(int64_t step) const { return step % recipe_.guards.rollback_steps == 0; }
  /// The stored steps that must stay.
  std::set<int64_t> keep(int64_t step) const;
  std::string state() const { return guard_.state(); }
  void resume(const std::string& state) { guard_ = LossGuard(recipe_.guards, state); }

 private:
  struct Doubt {
    int64_t step = 0;
    ReplicaDigests digests;
  };
  void judge_loss(const StepReport& report, Decision& decision);
  void check_replicas(int64_t step, Decision& decision);

  const Recipe& recipe_;
  const Mesh& mesh_;
  const Options options_;
  LossGuard guard_;
  ReplicaCheck replicas_;
  std::optional<Doubt> doubt_;   // two holders disagreed there: its rerun tells who was wrong
  std::vector<int64_t> reruns_;  // steps that were run again for that
};

}  // namespace kente
