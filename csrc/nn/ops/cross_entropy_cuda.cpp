#include "cuda/cross_entropy.h"

#include <utility>

#include "csrc/base/errors.h"
#include "csrc/base/round_up.h"
#include "csrc/nn/ops/gpu_ops.h"

namespace kente {
namespace {

constexpr int64_t kStrideMultiple = 128;

class GpuLosses : public RowLosses {
 public:
  GpuLosses(Staging& staging, Stream& stream, Staging::Place place, int64_t rows)
      : staging_(staging), stream_(stream), place_(std::move(place)), rows_(rows) {}
  GpuLosses(const GpuLosses&) = delete;
  GpuLosses& operator=(const GpuLosses&) = delete;
  ~GpuLosses() override {
    if (!place_) return;
    try {
      staging_.give_back(*std::move(place_), stream_);
    } catch (const DeviceError&) {  // told by whoever asks for something
    }
  }

  std::vector<double> take() override {
    KENTE_CHECK(place_, "losses taken twice");
    place_->event().wait(Deadline::after_seconds(kLongestWaitSeconds),
                         "the losses of a micro-batch");
    const auto* nats = reinterpret_cast<const float*>(place_->data());
    std::vector<double> copy(nats, nats + rows_);
    staging_.give_back(*std::move(place_), stream_);
    place_.reset();
    return copy;
  }

 private:
  Staging& staging_;
  Stream& stream_;
  std::optional<Staging::Place> place_;
  const int64_t rows_;
};

/// The kernel checks none.
void check_targets(const MicroBatch& batch, int64_t rows, int64_t vocabulary) {
  const int32_t* targets = batch.plane(MicroBatch::kTargets);
  for (int64_t row = 0; row < rows; ++row)
    KENTE_CHECK(targets[row] >= 0 && targets[row] < vocabulary,
                "target " + std::to_string(targets[row]) + " of " + std::to_string(vocabulary));
}

}  // namespace

at::Tensor GpuOps::logits_buffer(int64_t rows, int64_t vocabulary, at::ScalarType compute) {
  const int64_t stride = round_up(vocabulary, kStrideMultiple);
  return empty({rows, stride}, compute).narrow(1, 0, vocabulary);
}

std::unique_ptr<RowLosses> GpuOps::cross_entropy(const at::Tensor& logits,
                                                 const BatchOnDevice& batch,
                                                 std::optional<double> grad_scale) {
  const GpuBatch& on_device = GpuBatch::of(batch);
  const int64_t rows = batch.rows();
  check_targets(batch.host(), rows, logits.size(1));
  const at::Tensor nats = empty({rows}, at::kFloat);
  check_launch(cuda::cross_entropy({.dtype = data_type(logits.scalar_type()),
                                    .loss = {.rows = rows,
                                             .targets = on_device.plane(MicroBatch::kTargets),
                                             .mask = on_device.plane(MicroBatch::kLossMask),
                                             .nats = nats.mutable_data_ptr<float>()},
                                    .vocabulary = logits.size(1),
                                    .stride = logits.stride(0),
                                    .logits = logits.mutable_data_ptr(),
                                    .become = grad_scale ? cuda::LogitsBecome::kGradient
                                                         : cuda::LogitsBecome::kNothing,
                                    .grad_scale = static_cast<float>(grad_scale.value_or(1))},
                                   queue()),
               "cross_entropy");
  Staging::Place place = staging_.take(4 * rows);
  stream_.copy(place.data(), nats.const_data_ptr(), 4 * rows);
  stream_.record(place.event());
  return std::make_unique<GpuLosses>(staging_, stream_, std::move(place), rows);
}

at::Tensor GpuOps::logits_gradient(const at::Tensor& logits, at::ScalarType) { return logits; }

}  // namespace kente
