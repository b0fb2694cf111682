#include "csrc/train/pipe_runner.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "csrc/base/errors.h"
#include "csrc/train/tensor_view.h"

namespace kente {
namespace {

constexpr int kData = 0;
constexpr int kFields = 1;
constexpr int kGradient = 2;
constexpr int kTagParts = 3;

/// Under GPipe and 1F1B waiting for a send is safe, and bounds memory; a zero-bubble schedule
/// bounds them itself and must not wait. See csrc/plan/schedule.h.
size_t most_sends_of(ScheduleKind schedule) {
  constexpr size_t kFew = 4;
  return schedule == ScheduleKind::kZeroBubble ? std::numeric_limits<size_t>::max() : kFew;
}

bool is_receive(const Action& action) {
  return action.kind == ActionKind::kRecvActivation || action.kind == ActionKind::kRecvGradient;
}

std::pair<int, int> key(const Action& action) { return {action.chunk, action.micro_batch}; }

Phase phase_of(ActionKind kind) {
  switch (kind) {
    case ActionKind::kForward:
    case ActionKind::kLoss:
      return Phase::kForward;
    case ActionKind::kBackwardInput:
    case ActionKind::kBackwardWeight:
      return Phase::kBackward;
    case ActionKind::kRecvActivation:
    case ActionKind::kRecvGradient:
    case ActionKind::kSendActivation:
    case ActionKind::kSendGradient:
      return Phase::kMessage;
    case ActionKind::kReduceBucket:
      return Phase::kReduce;
    case ActionKind::kStep:
      return Phase::kStep;
    case ActionKind::kGatherParameters:
      return Phase::kGather;
  }
  return Phase::kStart;
}

at::Tensor take(std::map<std::pair<int, int>, at::Tensor>& from, std::pair<int, int> key) {
  auto node = from.extract(key);
  return node.empty() ? at::Tensor() : node.mapped();
}

}  // namespace

double padded_tokens(const Recipe& recipe) {
  int64_t padded = 1;
  while (padded < recipe.global_batch_tokens) padded *= 2;
  return static_cast<double>(padded);
}

PipeRunner::PipeRunner(const Recipe& recipe, const Mesh& mesh, const Plan& plan,
                       Communicator& world, const Parameters& parameters, double timeout_seconds,
                       Communicator* tensors)
    : recipe_(recipe),
      mesh_(mesh),
      plan_(plan),
      world_(world),
      tensors_(tensors ? *tensors : world),
      ops_(parameters.ops()),
      timeout_seconds_(timeout_seconds),
      most_sends_(most_sends_of(plan.schedule)),
      replica_(mesh.replica_of(world.rank())),
      clock_(ops_, world.rank()) {
  for (const int index : mesh.chunks_of(world.rank())) {
    const MeshChunk& at =
        mesh.replicas[static_cast<size_t>(replica_)].chunks[static_cast<size_t>(index)];
    const StagePlan& stage =
        plan.replicas[static_cast<size_t>(replica_)].stages[static_cast<size_t>(at.stage)];
    ChunkOptions options;
    options.compute = stage.compute;
    options.recompute = stage.recompute;
    options.stop_at_documents = recipe.data.stop_at_documents;
    options.loss_seed = 1.0 / padded_tokens(recipe);
    options.grain_samples = recipe.grain_samples;
    auto chunk = std::make_unique<Chunk>(recipe.model, at.layers, options, parameters);
    chunk->on_progress([this] { tensors_.progress(); });
    chunk->on_layer([this](const LayerOp& op) {
      if (pacer_) pacer_->layer(op);
    });
    chunks_.emplace(index, std::move(chunk));
  }
}

void PipeRunner::scale_gradients(double scale) {
  scale_ = scale;
  incoming_finite_ = outgoing_finite_ = true;
  for (const auto& [index, chunk] : chunks_) chunk->scale_gradients(scale);
}

DType PipeRunner::compute_of(int chunk) const {
  const MeshChunk& at =
      mesh_.replicas[static_cast<size_t>(replica_)].chunks[static_cast<size_t>(chunk)];
  return plan_.replicas[static_cast<size_t>(replica_)]
      .stages[static_cast<size_t>(at.stage)]
      .compute;
}

at::Tensor PipeRunner::converted(const at::Tensor& tensor, at::ScalarType type) const {
  if (tensor.scalar_type() == type) return tensor;
  at::Tensor other = ops_.empty(tensor.sizes(), type);
  ops_.cast(tensor, other);
  return other;
}

// One tag per (micro-batch, border between chunks, part): a receive posted ahead never meets
// another message.
int PipeRunner::tag(const Action& action, int part) const {
  const bool into =
      action.kind == ActionKind::kRecvActivation || action.kind == ActionKind::kSendGradient;
  const int border = into ? action.chunk - 1 : action.chunk;
  const int borders = static_cast<int>(mesh_.replicas[static_cast<size_t>(replica_)].chunks.size());
  return (action.micro_batch * borders + border) * kTagParts + part;
}

void PipeRunner::run(const ActionList& actions, const std::vector<int64_t>& sizes,
                     std::vector<MicroBatch> batches, const Hooks& hooks) {
  mode_ = Mode::kTrain;
  sizes_ = sizes;
  batches_ = std::move(batches);
  run_actions(actions, hooks);
}

void PipeRunner::run_forward(const ActionList& actions, const std::vector<int64_t>& sizes,
                             std::vector<MicroBatch> batches, const Hooks& hooks) {
  mode_ = Mode::kEvaluate;
  sizes_ = sizes;
  batches_ = std::move(batches);
  run_actions(actions, hooks);
}

void PipeRunner::run_actions(const ActionList& actions, const Hooks& hooks) {
  for (size_t m = 0; m < batches_.size(); ++m)
    KENTE_CHECK(batches_[m].samples == sizes_.at(m),
                "micro-batch " + std::to_string(m) + " has " + std::to_string(batches_[m].samples) +
                    " samples, the plan wants " + std::to_string(sizes_[m]));
  batches_.resize(sizes_.size());
  next_receive_ = 0;
  post_next_receive(actions);
  clock_.begin();
  for (const Action& action : actions) {
    if (board_) board_->set(phase_of(action.kind), action.micro_batch);
    if (is_receive(action)) {
      const at::Tensor tensor = finish_receive(action);
      auto& into = action.kind == ActionKind::kRecvActivation ? inputs_ : grads_;
      into[key(action)] = tensor;
      post_next_receive(actions);
    } else {
      if (pacer_) pacer_->begin();
      carry_out(action, hooks);
    }
    clock_.end(action, mode_ == Mode::kTrain);
  }
  take_losses(hooks);
  clock_.settle_if_passed();
  const Deadline deadline = Deadline::after_seconds(timeout_seconds_);
  for (Send& send : sends_) finish(send, deadline);
  sends_.clear();
}

void PipeRunner::carry_out(const Action& action, const Hooks& hooks) {
  switch (action.kind) {
    case ActionKind::kForward:
      return forward(action);
    case ActionKind::kLoss:
      return loss(action);
    case ActionKind::kBackwardInput: {
      at::Tensor grad =
          chunk(action.chunk).backward_input(action.micro_batch, take(grads_, key(action)));
      if (action.chunk > 0) outputs_[key(action)] = std::move(grad);
      // A neighbouring chunk on this rank gets the gradient without a message.
      if (chunks_.contains(action.chunk - 1))
        grads_[{action.chunk - 1, action.micro_batch}] = take(outputs_, key(action));
      return;
    }
    case ActionKind::kBackwardWeight:
      return chunk(action.chunk).backward_weight(action.micro_batch, *hooks.sink);
    case ActionKind::kSendActivation:
    case ActionKind::kSendGradient:
      return start_send(action, take(outputs_, key(action)));
    case ActionKind::kReduceBucket:
      return hooks.reduce(action.bucket);
    case ActionKind::kStep:
      take_losses(hooks);
      hooks.step();
      if (pacer_) pacer_->step();
      return;
    case ActionKind::kGatherParameters:
      return hooks.gather(action.bucket);
    case ActionKind::kRecvActivation:
    case ActionKind::kRecvGradient:
      break;
  }
  throw InternalError("cannot carry out " + to_string(action));
}

void PipeRunner::forward(const Action& action) {
  const MicroBatch& fields = batch(action.micro_batch);
  at::Tensor input = take(inputs_, key(action));
  const bool head = action.chunk + 1 ==
                    static_cast<int>(mesh_.replicas[static_cast<size_t>(replica_)].chunks.size());
  at::Tensor output;
  if (mode_ == Mode::kTrain) {
    output = chunk(action.chunk).forward(action.micro_batch, fields, std::move(input));
  } else {
    output = chunk(action.chunk).evaluate(fields, input);
  }
  if (head) {
    // What the head itself starts from, for the Loss action.
    if (mode_ != Mode::kTrain) inputs_[key(action)] = std::move(output);
    return;
  }
  if (chunks_.contains(action.chunk + 1)) {
    inputs_[{action.chunk + 1, action.micro_batch}] = std::move(output);
  } else {
    outputs_[key(action)] = std::move(output);
  }
}

void PipeRunner::loss(const Action& action) {
  Chunk& head = chunk(action.chunk);
  losses_.emplace_back(action.micro_batch, mode_ == Mode::kTrain
                                               ? head.loss(action.micro_batch)
                                               : head.evaluate_loss(batch(action.micro_batch),
                                                                    take(inputs_, key(action))));
}

// Late: a device goes on with what comes after a loss while nobody waits for it.
void PipeRunner::take_losses(const Hooks& hooks) {
  for (auto& [micro_batch, pending] : losses_) {
    const LossSums sums = pending.take();
    if (mode_ == Mode::kTrain)
      for (const double nats : sums.nats)
        incoming_finite_ = incoming_finite_ && std::isfinite(nats);
    hooks.loss(micro_batch, sums);
  }
  losses_.clear();
}

void PipeRunner::post_next_receive(const ActionList& actions) {
  while (next_receive_ < actions.size() && !is_receive(actions[next_receive_])) ++next_receive_;
  if (next_receive_ == actions.size()) return;
  const Action& action = actions[next_receive_++];
  const int64_t samples = sizes_.at(static_cast<size_t>(action.micro_batch));
  const bool activation = action.kind == ActionKind::kRecvActivation;
  Receive receive;
  receive.tensor = ops_.empty({samples, recipe_.sequence_length, recipe_.model.hidden_size},
                              scalar_type(recipe_.numerics.boundary));
  if (activation) {
    receive.batch = MicroBatch::zeros(samples, recipe_.sequence_length);
    auto& fields = receive.batch.fields;
    receive.fields = world_.irecv(
        {.data = fields.data(), .count = static_cast<int64_t>(fields.size()), .dtype = DType::kI32},
        action.peer, tag(action, kFields));
  }
  const int data_tag = tag(action, activation ? kData : kGradient);
  receive.data = tensors_.irecv(view_of(receive.tensor), action.peer, data_tag);
  receives_.emplace(std::pair(data_tag, action.peer), std::move(receive));
}

at::Tensor PipeRunner::finish_receive(const Action& action) {
  const bool activation = action.kind == ActionKind::kRecvActivation;
  auto node = receives_.extract({tag(action, activation ? kData : kGradient), action.peer});
  KENTE_CHECK(!node.empty(), "receive not posted: " + to_string(action));
  const Deadline deadline = Deadline::after_seconds(timeout_seconds_);
  if (node.mapped().fields) node.mapped().fields->wait(deadline);
  node.mapped().data->wait(deadline);
  // A rank with several chunks has the micro-batch from its first one, and may still be sending it.
  if (activation && action.chunk == chunks_.begin()->first)
    batch(action.micro_batch) = std::move(node.mapped().batch);
  at::Tensor tensor = std::move(node.mapped().tensor);
  if (!activation && scale_ != 1) {
    tensor = converted(tensor, at::kFloat);
    incoming_finite_ = incoming_finite_ && ops_.all_finite(tensor);
    ops_.scale(tensor, scale_);
  }
  return converted(tensor, scalar_type(compute_of(action.chunk)));
}

void PipeRunner::finish(Send& send, const Deadline& deadline) {
  send.data->wait(deadline);
  if (send.fields) send.fields->wait(deadline);
}

void PipeRunner::start_send(const Action& action, const at::Tensor& tensor) {
  const bool activation = action.kind == ActionKind::kSendActivation;
  std::erase_if(sends_, [](Send& send) {
    return send.data->done() && (!send.fields || send.fields->done());
  });
  while (sends_.size() >= most_sends_) {
    finish(sends_.front(), Deadline::after_seconds(timeout_seconds_));
    sends_.erase(sends_.begin());
  }
  Send send;
  at::Tensor unscaled = tensor;
  if (!activation && scale_ != 1) {
    unscaled = converted(tensor, at::kFloat);
    outgoing_finite_ = outgoing_finite_ && ops_.all_finite(unscaled);
    ops_.scale(unscaled, 1 / scale_);
  }
  send.tensor = converted(unscaled, scalar_type(recipe_.numerics.boundary));
  if (activation) {
    auto& fields = batch(action.micro_batch).fields;
    send.fields = world_.isend(
        {.data = fields.data(), .count = static_cast<int64_t>(fields.size()), .dtype = DType::kI32},
        action.peer, tag(action, kFields));
  }
  send.data = tensors_.isend(view_of(send.tensor), action.peer,
                             tag(action, activation ? kData : kGradient));
  sends_.push_back(std::move(send));
}

}  // namespace kente
