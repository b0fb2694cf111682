#include "launch/standby.h"

#include <utility>

namespace kente {
namespace {

constexpr double kAgainSeconds = 30;  // after some have died

}  // namespace

void Standby::hear() {
  if (!job_) return;
  for (const ControlServer::Event& heard : job_->server().poll(0)) {
    switch (heard.kind) {
      case ControlServer::Event::Kind::kJoined:
        job_->hellos[heard.rank] = heard.hello;
        break;
      case ControlServer::Event::Kind::kReady:
        ready_.insert(heard.rank);
        break;
      case ControlServer::Event::Kind::kLeft:
      case ControlServer::Event::Kind::kLost:
        broken_ = true;
        break;
      case ControlServer::Event::Kind::kProgress:
      case ControlServer::Event::Kind::kRefused:
        break;
    }
  }
}

bool Standby::tend(const StartJob& start, int ranks, double now) {
  hear();
  if (broken_) {
    job_.reset();
    broken_ = false;
    not_before_ = now + kAgainSeconds;
  }
  if (!job_ && now >= not_before_) {
    ready_.clear();
    told_ = false;
    job_ = start();
  }
  return ready_.size() == static_cast<size_t>(ranks) && !std::exchange(told_, true);
}

void Standby::ended(pid_t pid) { broken_ = broken_ || (job_ && job_->mpirun() == pid); }

std::unique_ptr<MpirunJob> Standby::take(const std::vector<std::string>& command, int ranks) {
  hear();
  std::unique_ptr<MpirunJob> job = std::move(job_);
  const bool usable = job && !std::exchange(broken_, false) && job->options().command == command &&
                      ready_.size() == static_cast<size_t>(ranks);
  ready_.clear();
  return usable ? std::move(job) : nullptr;
}

}  // namespace kente
