#include "comm/piecewise.h"

#include <limits>
#include <utility>

#include "csrc/base/backoff.h"
#include "csrc/base/errors.h"

namespace kente {
namespace {

/// One request on the wire while the next is prepared.
constexpr int kCollectivesAtOnce = 2;

}  // namespace

void CollectiveQueue::pump() {
  int room = kCollectivesAtOnce;
  while (!works_.empty()) {
    works_.front()->advance(room);
    if (!works_.front()->finished()) break;
    works_.pop_front();
  }
  for (size_t i = 1; i < works_.size() && room > 0; ++i) works_[i]->advance(room);
}

PiecewiseWork::PiecewiseWork(CollectiveQueue* queue, std::string text,
                             std::vector<std::unique_ptr<Request>> requests, bool* given_up)
    : queue_(queue),
      text_(std::move(text)),
      requests_(std::move(requests)),
      given_up_(given_up),
      complete_(requests_.size(), false) {
  if (queue_) queue_->works_.push_back(this);
}

PiecewiseWork::~PiecewiseWork() {
  if (queue_) std::erase(queue_->works_, this);
  for (size_t i = finished_; i < requests_.size(); ++i)
    if (!complete_[i] && !requests_[i]->give_up()) *given_up_ = true;
}

bool PiecewiseWork::done() {
  if (queue_) {
    queue_->pump();
  } else {
    int room = std::numeric_limits<int>::max();
    advance(room);
  }
  return finished();
}

void PiecewiseWork::wait(const Deadline& deadline) {
  Backoff backoff;
  while (!done()) {
    if (deadline.passed()) throw PeerError(text_ + ": " + no_answer_within(deadline));
    backoff.pause();
  }
}

void PiecewiseWork::advance(int& room) {
  for (size_t i = finished_; i < requests_.size() && room > 0; ++i) {
    if (complete_[i]) continue;
    if (i == started_) {
      ++started_;
      requests_[i]->start();
    }
    complete_[i] = requests_[i]->test();
    if (!complete_[i]) --room;
  }
  while (!finished() && complete_[finished_]) ++finished_;
}

}  // namespace kente
