#include "comm/nccl_work.h"

#include <algorithm>
#include <utility>

#include "csrc/base/backoff.h"
#include "csrc/base/errors.h"

namespace kente {
namespace {

constexpr int kAnnounceTag = 2;

std::unique_ptr<Event> take_event(NcclRank& rank) {
  if (rank.events.empty()) return rank.device.make_event();
  std::unique_ptr<Event> event = std::move(rank.events.back());
  rank.events.pop_back();
  return event;
}

}  // namespace

NcclWork::NcclWork(NcclRank& rank, NcclChannel& channel, NcclOrder& order, std::string what,
                   Call call)
    : rank_(rank),
      channel_(channel),
      order_(order),
      what_(std::move(what)),
      call_(std::move(call)),
      computed_(take_event(rank)),
      ended_(take_event(rank)) {
  rank_.compute.record(*computed_);
  rank_.pump.under_way.push_back(this);
}

NcclWork::~NcclWork() {
  std::erase(rank_.pump.under_way, this);
  std::erase(order_, this);
  if (state_ != State::kFinished) channel_.give_up();
  rank_.events.push_back(std::move(computed_));
  rank_.events.push_back(std::move(ended_));
}

bool NcclWork::done() {
  while (!order_.empty() && order_.front()->begin()) order_.pop_front();
  if (state_ == State::kStarted && channel_.settled() && ended_->passed())
    state_ = State::kFinished;
  return state_ == State::kFinished;
}

void NcclWork::wait(const Deadline& deadline) {
  for (Backoff backoff; !done(); backoff.pause()) {
    rank_.pump.go_on();
    rank_.inner.progress();
    if (!deadline.passed()) continue;
    channel_.give_up();
    throw PeerError(what_ + (state_ == State::kStarted ? "" : ", which NCCL has not started") +
                    ": " + no_answer_within(deadline));
  }
}

/// True once NCCL has taken it over.
bool NcclWork::begin() {
  if (state_ == State::kWaiting) {
    if (!channel_.ready()) return false;
    channel_.stream().wait_for(*computed_);
    channel_.check(call_(channel_.native(), channel_.stream().native()), what_);
    state_ = State::kStarting;
  }
  if (state_ == State::kStarting) {
    if (!channel_.settled()) return false;
    channel_.stream().record(*ended_);
    state_ = State::kStarted;
  }
  return true;
}

void ReceiveLane::go_on(Communicator& control, int from) {
  while (!posted.empty()) {
    if (!arrived) {
      if (!announcement) announcement = control.irecv(next.view(), from, kAnnounceTag);
      if (!announcement->done()) return;
      announcement.reset();
      arrived = true;
    }
    const auto match = std::ranges::find(posted, next.tag, &Posted::tag);
    if (match == posted.end()) return;
    KENTE_CHECK(match->bytes == next.bytes, "a message of " + std::to_string(next.bytes) +
                                                " bytes for a receive of " +
                                                std::to_string(match->bytes));
    order.push_back(match->work);
    posted.erase(match);
    arrived = false;
  }
}

SendWork::SendWork(NcclRank& rank, SendLane& lane, const NcclMessage& message, std::string what,
                   Call call)
    : NcclWork(rank, *lane.channel, lane.order, std::move(what), std::move(call)),
      announced_{.tag = message.tag, .bytes = message.bytes},
      announcement_(message.control.isend(announced_.view(), message.peer, kAnnounceTag)) {
  lane.order.push_back(this);
}

bool SendWork::done() {
  if (announcement_ && announcement_->done()) announcement_.reset();
  return NcclWork::done() && !announcement_;
}

ReceiveWork::ReceiveWork(NcclRank& rank, ReceiveLane& lane, const NcclMessage& message,
                         std::string what, Call call)
    : NcclWork(rank, *lane.channel, lane.order, std::move(what), std::move(call)),
      lane_(lane),
      control_(message.control),
      from_(message.peer) {
  lane.posted.push_back({.tag = message.tag, .bytes = message.bytes, .work = this});
}

ReceiveWork::~ReceiveWork() {
  std::erase_if(lane_.posted, [this](const auto& posted) { return posted.work == this; });
}

bool ReceiveWork::done() {
  lane_.go_on(control_, from_);
  return NcclWork::done();
}

}  // namespace kente
