#include "csrc/train/host_state.h"

#include <utility>

#include "csrc/base/errors.h"

namespace kente {

HostState::HostState(Parameters& parameters, const AdamW* optimizer)
    : parameters_(parameters), optimizer_(optimizer) {
  std::vector<at::Tensor> tensors;
  for (const int group : parameters.groups()) {
    first_.resize(static_cast<size_t>(group) + 1);
    first_.back() = tensors.size();
    tensors.push_back(parameters.master(group));
    if (!optimizer) continue;
    tensors.push_back(optimizer->exp_avg(group));
    tensors.push_back(optimizer->exp_avg_sq(group));
  }
  copies_ = parameters.ops().host_copies(std::move(tensors));
}

float* HostState::data(StateKind kind, int group) const {
  KENTE_CHECK(parameters_.holds(group) && (optimizer_ || kind == StateKind::kMaster),
              "group " + std::to_string(group));
  return static_cast<float*>(
      copies_->data(first_[static_cast<size_t>(group)] + static_cast<size_t>(kind)));
}

void HostState::fetch(std::function<void()> then) {
  wait();
  for (int held = held_; held > 0; held = held_) held_.wait(held, std::memory_order_acquire);
  copies_->fetch();
  then_ = std::move(then);
}

void HostState::go_on() {
  if (then_ && copies_->arrived()) std::exchange(then_, nullptr)();
}

void HostState::wait() {
  copies_->wait();
  go_on();
}

void HostState::read() {
  fetch({});
  wait();
}

void HostState::write(int group) {
  const size_t first = first_.at(static_cast<size_t>(group));
  for (size_t tensor = 0; tensor < (optimizer_ ? 3 : 1); ++tensor) copies_->send(first + tensor);
  parameters_.refresh(group);
}

void HostState::write() {
  for (const int group : parameters_.groups()) write(group);
}

void HostState::release() {
  held_.fetch_sub(1, std::memory_order_acq_rel);
  held_.notify_all();
}

}  // namespace kente
