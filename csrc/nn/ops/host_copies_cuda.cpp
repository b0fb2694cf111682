#include <algorithm>
#include <utility>

#include "csrc/base/errors.h"
#include "csrc/base/round_up.h"
#include "csrc/nn/ops/gpu_ops.h"

namespace kente {
namespace {

constexpr int64_t kPlaceMultiple = 256;  // bytes

}  // namespace

/// In one piece of pinned memory, filled by a stream of its own while computing goes on.
class GpuOps::Copies : public HostCopies {
 public:
  Copies(GpuOps& ops, std::vector<at::Tensor> tensors)
      : ops_(ops),
        tensors_(std::move(tensors)),
        stream_(ops.device_.make_stream(Urgency::kUsual)),
        computed_(ops.device_.make_event()),
        sent_(ops.device_.make_event()),
        arrived_(ops.device_.make_event()) {
    int64_t bytes = 0;
    for (const at::Tensor& tensor : tensors_) {
      KENTE_CHECK(tensor.is_contiguous(), "a tensor with gaps");
      places_.push_back(bytes);
      bytes += round_up(bytes_of(tensor), kPlaceMultiple);
    }
    memory_ = ops.device_.allocate_pinned(std::max(bytes, kPlaceMultiple));
  }

  /// The tensors' memory may be used again for what is queued from now on; the host's is given
  /// back.
  ~Copies() override {
    try {
      ops_.stream_.wait_for(*arrived_);
      wait();
    } catch (const DeviceError&) {  // the process is about to end for that
    }
  }

  void* data(size_t tensor) override { return memory_.data() + places_.at(tensor); }

  void fetch() override {
    ops_.stream_.record(*computed_);
    stream_->wait_for(*computed_);
    for (size_t i = 0; i < tensors_.size(); ++i)
      stream_->copy(data(i), tensors_[i].const_data_ptr(), bytes_of(tensors_[i]));
    stream_->record(*arrived_);
    ops_.fetches_.push_back(arrived_);
  }

  bool arrived() override { return arrived_->passed(); }

  void wait() override {
    arrived_->wait(Deadline::after_seconds(kLongestWaitSeconds), "the state's copy to the host");
  }

  void send(size_t tensor) override {
    const at::Tensor& to = tensors_.at(tensor);
    ops_.stream_.wait_for(*arrived_);
    ops_.stream_.copy(to.mutable_data_ptr(), data(tensor), bytes_of(to));
    ops_.stream_.record(*sent_);
    sent_->wait(Deadline::after_seconds(kLongestWaitSeconds), "the state's copy to the device");
  }

  bool same_memory() const override { return false; }

 private:
  static int64_t bytes_of(const at::Tensor& tensor) {
    return static_cast<int64_t>(tensor.nbytes());
  }

  GpuOps& ops_;
  const std::vector<at::Tensor> tensors_;
  std::vector<int64_t> places_;  // offsets in memory_
  DeviceMemory memory_;
  const std::unique_ptr<Stream> stream_;
  const std::unique_ptr<Event> computed_, sent_;
  const std::shared_ptr<Event> arrived_;
};

std::unique_ptr<HostCopies> GpuOps::host_copies(std::vector<at::Tensor> tensors) {
  return std::make_unique<Copies>(*this, std::move(tensors));
}

}  // namespace kente
