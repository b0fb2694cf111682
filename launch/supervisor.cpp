#include "launch/supervisor.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "comm/control.h"
#include "csrc/base/clock.h"
#include "csrc/base/proc_files.h"
#include "launch/child_processes.h"
#include "launch/host_watch.h"
#include "launch/launch_event.h"
#include "launch/launch_resources.h"
#include "launch/memory_advice.h"
#include "launch/mpirun_job.h"
#include "launch/standby.h"

namespace kente {
namespace {

constexpr int kPollMs = 20;
constexpr double kDumpSeconds = 4;
constexpr double kLeaveSeconds = 10;  // for mpirun to end after its ranks

/// Processes that the kernel ended for lack of memory since this machine was started.
int64_t oom_kills() { return number_after("/proc/vmstat", "oom_kill "); }

/// How one start ended.
struct Outcome {
  enum class Kind { kDone, kStopped, kFailed, kHostsChanged } kind = Kind::kFailed;
  ExitStatus status = ExitStatus::kPeer;
  int rank = -1;  // whose fault; -1: nobody's alone
  std::string what = {};
  bool progressed = false;  // finished a step
};

class Supervisor {
 public:
  explicit Supervisor(const LaunchOptions& options)
      : options_(options),
        hosts_(HostPool(options.mpirun.hosts, options.mpirun.ranks, options.host_retry),
               launcher(options.mpirun), options.host_seconds),
        ranks_(hosts_.pool().ranks()),
        chaos_(options.chaos, ranks_, options.run_directory, options.snapshots, now_seconds()) {
    std::filesystem::create_directories(options.run_directory + "/logs");
    lock_.emplace(options.run_directory);
    MpiScratch::remove_old(options.run_directory);
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  }
  ExitStatus run();

 private:
  struct Start;
  Outcome run_once(bool resume);
  std::vector<std::string> command(bool resume, bool stands_by) const;
  std::unique_ptr<MpirunJob> start_job(bool resume, bool stands_by);
  std::unique_ptr<MpirunJob> next_job(bool resume);
  void tend_standby(const Start& start);
  void hear(Start& start);
  std::optional<Outcome> judge(Start& start);
  Outcome end_of_mpirun(const Start& start) const;
  void recovered(Start& start);
  void disturb(const Start& start);
  ExitStatus judge_chaos();
  void end_everything(const Start& start);
  bool wait(double seconds);
  void take_hosts_back(Start& start);
  void event(const std::string& kind, int64_t step, const std::string& detail, int rank = -1,
             std::optional<double> seconds = std::nullopt);

  const LaunchOptions& options_;
  std::optional<RunLock> lock_;
  LaunchSignals signals_;
  PhaseTimes times_;
  HostWatch hosts_;
  int ranks_;
  Chaos chaos_;
  Standby standby_;
  int starts_ = 0;
  int jobs_ = 0;         // of mpirun; those that stood by in vain too
  int incarnation_ = 0;  // of the job under way
  int stop_orders_ = 0;
  int64_t last_step_ = 0;
  std::optional<double> failed_at_;  // until a start has finished a step again
};

/// What is known of the start under way.
struct Supervisor::Start {
  Start(std::unique_ptr<MpirunJob> started, const RankWatch& watching)
      : job(std::move(started)), watch(watching) {}
  /// It has finished a step of its own.
  bool progressed() const { return resumed_at && watch.finished_step() > *resumed_at; }

  std::unique_ptr<MpirunJob> job;
  RankWatch watch;
  std::optional<Outcome> lost;       // a rank died
  std::optional<Deadline> leave_by;  // ranks said goodbye: mpirun should end
  int left_status = 0;               // the worst goodbye
  int left_rank = -1;
  std::optional<int64_t> resumed_at;  // the step it began after
  bool told_to_stop = false;
  bool for_hosts = false;  // that came back
};

void Supervisor::event(const std::string& kind, int64_t step, const std::string& detail, int rank,
                       std::optional<double> seconds) {
  tell(options_.run_directory, {.kind = kind,
                                .step = step,
                                .detail = detail,
                                .incarnation = incarnation_,
                                .rank = rank,
                                .seconds = seconds});
}

void Supervisor::hear(Start& start) {
  const double now = now_seconds();
  for (const ControlServer::Event& heard : start.job->server().poll(kPollMs, signals_.fd())) {
    const int rank = heard.rank;
    switch (heard.kind) {
      case ControlServer::Event::Kind::kJoined:
        if (rank >= ranks_) break;
        start.job->hellos[rank] = heard.hello;
        start.watch.joined(rank, now);
        break;
      case ControlServer::Event::Kind::kProgress:
        start.watch.progress(rank, heard.progress, now);
        recovered(start);
        break;
      case ControlServer::Event::Kind::kLeft:
        start.watch.left(rank);
        if (!start.leave_by) start.leave_by = Deadline::after_seconds(kLeaveSeconds);
        if (heard.status != 0 && start.left_rank < 0) {
          start.left_status = heard.status;
          start.left_rank = rank;
        }
        break;
      case ControlServer::Event::Kind::kLost:
        if (!start.lost && !start.leave_by)
          start.lost =
              Outcome{.rank = rank,
                      .what = fmt::format("rank {} on {} died in {}", rank,
                                          start.job->hellos[rank].host, start.watch.where(rank))};
        break;
      case ControlServer::Event::Kind::kReady:
        break;
      case ControlServer::Event::Kind::kRefused:
        event("connection refused", last_step_, heard.why, rank);
        break;
    }
  }
  stop_orders_ += signals_.stop_orders();
  int status = 0;
  for (pid_t ended = 0; (ended = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    hosts_.ended(ended, status);
    standby_.ended(ended);
    if (ended == start.job->mpirun())
      start.job->mpirun_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
}

/// Notes how far the run is, and how long it took to be as far as before a failure.
void Supervisor::recovered(Start& start) {
  const int64_t finished = start.watch.finished_step();
  last_step_ = std::max(last_step_, finished);
  if (!start.resumed_at) {
    // The board holds the step that was resumed from once a rank has left its start.
    for (int rank = 0; rank < ranks_; ++rank)
      if (start.watch.entry(rank).phase != Phase::kStart)
        start.resumed_at = start.watch.entry(rank).step;
    return;
  }
  if (!failed_at_ || finished <= *start.resumed_at) return;
  const double seconds = now_seconds() - *failed_at_;
  failed_at_.reset();
  event("recovered", finished,
        fmt::format("step {} finished {:.2f} s after the failure was noticed, resumed from step {}",
                    finished, seconds, *start.resumed_at),
        -1, seconds);
}

/// Only once a step is done: a start that never gets so far has its own limits.
void Supervisor::disturb(const Start& start) {
  if (!options_.chaos.seed || start.leave_by || !start.progressed()) return;
  const std::vector<pid_t> own = start.job->processes();
  std::map<int, pid_t> pids;
  for (const auto& [rank, hello] : start.job->hellos)
    if (std::find(own.begin(), own.end(), static_cast<pid_t>(hello.pid)) != own.end())
      pids[rank] = static_cast<pid_t>(hello.pid);
  const std::string done = chaos_.act(pids, now_seconds());
  if (!done.empty()) event("chaos", last_step_, done);
}

/// What is left of a run that was disturbed on purpose.
ExitStatus Supervisor::judge_chaos() {
  const ChaosVerdict verdict = judge_run(options_.run_directory);
  const std::string told = fmt::format("{} faults, {} starts, {} steps of which {} were done again",
                                       chaos_.faults(), starts_, verdict.steps, verdict.done_again);
  event("chaos judged", verdict.steps,
        verdict.problem.empty() ? told + "; the last step is stored and verifies"
                                : told + "; FAILED: " + verdict.problem);
  return verdict.problem.empty() ? ExitStatus::kDone : ExitStatus::kStorage;
}

Outcome Supervisor::end_of_mpirun(const Start& start) const {
  const int status = start.left_status != 0 ? start.left_status : *start.job->mpirun_status;
  Outcome outcome{.rank = start.left_rank,
                  .what = start.left_rank >= 0
                              ? fmt::format("rank {} ended with status {}", start.left_rank, status)
                              : fmt::format("mpirun ended with status {}", status)};
  if (status == 0) {
    outcome.kind = Outcome::Kind::kDone;
    outcome.status = ExitStatus::kDone;
  } else if (status == static_cast<int>(ExitStatus::kUsage) ||
             status == static_cast<int>(ExitStatus::kStopped)) {
    // Starting again would not help, or is not wanted.
    outcome.kind = start.for_hosts ? Outcome::Kind::kHostsChanged : Outcome::Kind::kStopped;
    outcome.status = static_cast<ExitStatus>(status);
  } else if (status == static_cast<int>(ExitStatus::kStorage) ||
             status == static_cast<int>(ExitStatus::kBug)) {
    outcome.status = static_cast<ExitStatus>(status);
  }
  return outcome;
}

/// Whether the start is over, and how.
std::optional<Outcome> Supervisor::judge(Start& start) {
  if (stop_orders_ > 1)
    return Outcome{.kind = Outcome::Kind::kStopped,
                   .status = ExitStatus::kStopped,
                   .what = "stopped at once by a second order"};
  if (stop_orders_ == 1 && !start.told_to_stop && start.watch.joined() > 0) {
    start.told_to_stop = true;
    event("stop ordered", last_step_, "the step is finished and stored; once more ends it at once");
    start.job->server().tell_all(Order::kStop);
  }
  if (start.lost) return start.lost;
  if (start.job->mpirun_status) return end_of_mpirun(start);
  if (start.leave_by && start.leave_by->passed()) {
    start.job->mpirun_status = 3;
    return end_of_mpirun(start);
  }
  const std::optional<RankWatch::Suspect> suspect = start.watch.suspect(now_seconds());
  if (!suspect) return std::nullopt;
  Outcome outcome{.rank = suspect->rank,
                  .what = suspect->rank >= 0
                              ? fmt::format("rank {}: {}", suspect->rank, suspect->why)
                              : suspect->why};
  failed_at_ = now_seconds();
  for (const auto& [rank, hello] : start.job->hellos) {
    if (suspect->rank >= 0 && rank != suspect->rank) continue;
    const std::string path =
        fmt::format("{}/logs/hung-rank-{:04d}-{}.txt", options_.run_directory, rank, incarnation_);
    const std::vector<pid_t> own = start.job->processes();
    if (std::find(own.begin(), own.end(), static_cast<pid_t>(hello.pid)) == own.end()) continue;
    dump_stacks(static_cast<pid_t>(hello.pid), path, kDumpSeconds);
    outcome.what += "; stacks in " + path;
    break;
  }
  return outcome;
}

void Supervisor::end_everything(const Start& start) {
  const std::vector<pid_t> left = start.job->end();
  if (left.empty()) return;
  std::string pids;
  for (const pid_t pid : left) pids += " " + std::to_string(pid);
  event("not ended", last_step_, "stuck in the kernel, its device is lost until then: pid" + pids);
}

std::vector<std::string> Supervisor::command(bool resume, bool stands_by) const {
  return mpirun_command(options_.mpirun, hosts_.pool(), resume, stands_by);
}

std::unique_ptr<MpirunJob> Supervisor::start_job(bool resume, bool stands_by) {
  return std::make_unique<MpirunJob>(MpirunJob::Options{.command = command(resume, stands_by),
                                                        .run_directory = options_.run_directory,
                                                        .control_host = options_.control_host,
                                                        .incarnation = ++jobs_,
                                                        .stands_by = stands_by,
                                                        .local = hosts_.pool().empty()});
}

/// The ranks that stood by, if there are any for this; else new ones.
std::unique_ptr<MpirunJob> Supervisor::next_job(bool resume) {
  std::string how = resume ? ", from what is stored" : "";
  std::unique_ptr<MpirunJob> job;
  if (resume) job = standby_.take(command(true, true), ranks_);
  if (job) how += ", by those that stood by";
  incarnation_ = job ? job->options().incarnation : jobs_ + 1;
  event("launch", last_step_, fmt::format("start {} of {} ranks{}", ++starts_, ranks_, how));
  if (!job) return start_job(resume, false);
  job->go();
  return job;
}

/// Not before training goes on: what they load now the ranks that train would wait for.
void Supervisor::tend_standby(const Start& start) {
  if (!options_.standby || start.leave_by || !start.progressed()) return;
  if (standby_.tend([this] { return start_job(true, true); }, ranks_, now_seconds()))
    event("standby", last_step_, fmt::format("{} ranks have everything loaded and wait", ranks_));
}

Outcome Supervisor::run_once(bool resume) {
  const int64_t kills_before = oom_kills();
  std::unique_ptr<MpirunJob> job = next_job(resume);
  Start start(std::move(job), RankWatch(ranks_, options_.limits, times_, now_seconds()));
  for (const auto& [rank, hello] : start.job->hellos) start.watch.joined(rank, now_seconds());
  std::optional<Outcome> outcome;
  while (!outcome) {
    hear(start);
    disturb(start);
    take_hosts_back(start);
    tend_standby(start);
    outcome = judge(start);
  }
  if (outcome->kind == Outcome::Kind::kFailed && !failed_at_) failed_at_ = now_seconds();
  chaos_.forget_processes();
  end_everything(start);
  if (outcome->rank >= 0 && oom_kills() > kills_before)
    outcome->what += "; the kernel ended a process for lack of memory: " +
                     memory_advice(options_.run_directory, outcome->rank);
  outcome->progressed = start.progressed();
  return *outcome;
}

/// Hosts that were left out and answer again: the step under way is finished and stored, and the
/// run goes on with them.
void Supervisor::take_hosts_back(Start& start) {
  if (start.for_hosts || !start.resumed_at) return;
  for (const std::string& name : hosts_.come_back()) {
    event("host is back", last_step_, name + ": the run goes on with it after this step");
    if (!std::exchange(start.for_hosts, true)) start.job->server().tell_all(Order::kStop);
  }
}

/// False when an order to stop ended the wait.
bool Supervisor::wait(double seconds) {
  const Deadline deadline = Deadline::after_seconds(seconds);
  while (!deadline.passed() && stop_orders_ == 0) {
    signals_.wait(deadline.seconds_left());
    stop_orders_ += signals_.stop_orders();
  }
  return stop_orders_ == 0;
}

ExitStatus Supervisor::run() {
  int64_t failures = 0;  // in a row, without a finished step
  bool resume = options_.resume;
  while (true) {
    const Outcome outcome = run_once(resume);
    resume = true;
    if (outcome.kind == Outcome::Kind::kHostsChanged && stop_orders_ == 0) {
      ranks_ = hosts_.pool().ranks();
      continue;
    }
    if (outcome.kind != Outcome::Kind::kFailed) {
      if (outcome.status == ExitStatus::kDone && options_.chaos.seed) return judge_chaos();
      if (outcome.status != ExitStatus::kDone) event("launch ended", last_step_, outcome.what);
      return outcome.status;
    }
    failures = outcome.progressed ? 1 : failures + 1;
    event("failure", last_step_, outcome.what, outcome.rank);
    if (stop_orders_ > 0) {
      event("launch ended", last_step_, "stopped by order after a failure");
      return ExitStatus::kStopped;
    }
    if (failures > options_.max_failures) {
      event("gave up", last_step_,
            fmt::format("{} starts in a row finished no step; see {}/logs/mpirun-{}.log", failures,
                        options_.run_directory, incarnation_));
      return outcome.status;
    }
    for (const std::string& why : hosts_.after_failure(outcome.rank, signals_, stop_orders_))
      event("host left out", last_step_, why);
    ranks_ = hosts_.pool().ranks();
    if (!wait(back_off_seconds(failures))) return ExitStatus::kStopped;
  }
}

}  // namespace

double back_off_seconds(int64_t failures) {
  constexpr double kMost = 60;
  if (failures <= 1) return 0;
  return std::min(kMost, static_cast<double>(int64_t{1} << std::min<int64_t>(failures - 2, 10)));
}

ExitStatus supervise(const LaunchOptions& options) { return Supervisor(options).run(); }

}  // namespace kente
