#pragma once

#include <memory>
#include <vector>

#include "csrc/device/device.h"
#include "csrc/device/gemm.h"
#include "csrc/device/staging.h"
#include "csrc/nn/ops/ops.h"

namespace kente {

namespace cuda {
struct Queue;
enum class DataType : uint8_t;
}  // namespace cuda

/// Tensors on GPU number gpu that are made from now on by this thread, and what ATen does with
/// them, belong to this stream: memory that a tensor gives back is used again by work that is
/// queued in it later. Whoever lets another stream touch a tensor keeps it until that is done.
void bind_tensors(int gpu, Stream& stream);

/// A device that takes longer for what was queued has hung.
inline constexpr double kLongestWaitSeconds = 60;

/// A micro-batch on a GPU.
class GpuBatch : public BatchOnDevice {
 public:
  /// Where attention ends, as ATen's kernels want it.
  struct Segments {
    at::Tensor borders;  // [segments + 1] i32: where each begins; then the number of rows
    int64_t longest = 0;
  };
  /// planes: [kFields, at least rows] i32 on the device, each aligned as the kernels want it.
  GpuBatch(const MicroBatch& host, at::Tensor planes)
      : BatchOnDevice(host), planes_(std::move(planes)) {}
  static const GpuBatch& of(const BatchOnDevice& batch);

  const int32_t* plane(MicroBatch::Field field) const;
  /// Made by the first layer that asks.
  mutable std::optional<Segments> segments;

 private:
  at::Tensor planes_;
};

/// A GPU's: kernels of cuda/, cuBLASLt's products and ATen's attention, queued in one stream. What
/// it refuses (widths that are no multiple of 8, heads of RoPE that are none of 16) throws
/// InternalError that names the operation.
class GpuOps : public Ops {
 public:
  /// gpu: number of the device on this node. device and stream must outlive it; binds the thread's
  /// tensors to the stream.
  GpuOps(int gpu, Device& device, Stream& stream);

  bool on_host() const override { return false; }
  at::Tensor empty(at::IntArrayRef sizes, at::ScalarType type) override;
  at::Tensor zeros(at::IntArrayRef sizes, at::ScalarType type) override;
  at::Tensor from_host(const at::Tensor& tensor) override;
  at::Tensor to_host(const at::Tensor& tensor) override;
  void cast(const at::Tensor& from, const at::Tensor& to) override;
  void add(const at::Tensor& from, const at::Tensor& to) override;
  void clear(const at::Tensor& tensor) override;
  void scale(const at::Tensor& tensor, double factor) override;
  bool all_finite(const at::Tensor& tensor) override;
  std::unique_ptr<BatchOnDevice> upload(const MicroBatch& batch) override;
  at::Tensor embedding(const at::Tensor& tokens, const at::Tensor& positions,
                       const BatchOnDevice& batch) override;
  void embedding_backward(const at::Tensor& dy, const BatchOnDevice& batch, MicroBatch::Field field,
                          const at::Tensor& grad_table) override;
  NormOutput norm(const at::Tensor& x, const at::Tensor& w, const at::Tensor& b,
                  double eps) override;
  void norm_backward(const at::Tensor& x, const at::Tensor& stats, const at::Tensor& w,
                     const at::Tensor& residual_grad, const at::Tensor& dy,
                     const at::Tensor& grad_w, const at::Tensor& grad_b) override;
  bool wants_real_bias() const override { return false; }
  at::Tensor linear(const at::Tensor& x, const at::Tensor& w, const at::Tensor& bias,
                    const at::Tensor& residual) override;
  at::Tensor linear_backward_input(const at::Tensor& dy, const at::Tensor& w) override;
  void linear_backward_weight(const at::Tensor& dy, const at::Tensor& x,
                              const at::Tensor& grad_w) override;
  void add_column_sums(const at::Tensor& dy, const at::Tensor& grad_bias) override;
  RopeTable rope_table(int64_t positions, int64_t head_dim, double theta,
                       at::ScalarType real) override;
  void rope(const at::Tensor& x, int64_t heads, const BatchOnDevice& batch, const RopeTable& table,
            RopeDirection direction) override;
  at::Tensor gelu(const at::Tensor& x) override;
  void gelu_backward(const at::Tensor& x, const at::Tensor& dy) override;
  at::Tensor swiglu(const at::Tensor& gate_up) override;
  void swiglu_backward(const at::Tensor& gate_up, const at::Tensor& dy) override;
  AttentionOutput attention(const at::Tensor& qkv, const AttentionHeads& heads,
                            const BatchOnDevice& batch, bool stop_at_documents) override;
  void attention_backward(const at::Tensor& qkv, const AttentionHeads& heads,
                          const BatchOnDevice& batch, bool stop_at_documents,
                          const AttentionOutput& forward, const at::Tensor& grad_out) override;
  at::Tensor logits_buffer(int64_t rows, int64_t vocabulary, at::ScalarType compute) override;
  void logits(const at::Tensor& x, const at::Tensor& w, const at::Tensor& logits) override;
  std::unique_ptr<RowLosses> cross_entropy(const at::Tensor& logits, const BatchOnDevice& batch,
                                           std::optional<double> grad_scale) override;
  at::Tensor logits_gradient(const at::Tensor& logits, at::ScalarType compute) override;
  std::unique_ptr<FixedSums> fixed_sums() override;
  void fixed_to_float(const at::Tensor& accumulator, const at::Tensor& gradient) override;
  std::unique_ptr<WorkClock> work_clock() override;
  std::unique_ptr<HostCopies> host_copies(std::vector<at::Tensor> tensors) override;
  bool adamw(const std::vector<AdamWPiece>& pieces, const AdamWFactors& factors,
             at::ScalarType copy) override;

 private:
  class Sums;
  class Copies;
  class Clock;
  cuda::Queue queue() const;
  /// Copies data to all of a tensor, behind the work that is queued.
  void send(const void* data, const at::Tensor& to);
  at::Tensor bytes(const void* data, size_t count);
  at::Tensor numbers(const std::vector<int32_t>& values);
  /// Which of ATen's attention kernels.
  bool flash(at::ScalarType type) const;
  const GpuBatch::Segments& segments_of(const BatchOnDevice& batch, bool stop_at_documents);

  const int gpu_;
  Device& device_;
  Stream& stream_;
  const int compute_capability_;
  Staging staging_;
  const std::unique_ptr<Gemm> gemm_;
  std::vector<std::shared_ptr<Event>> fetches_;  // that adamw() has not waited for yet
};

/// GpuOps; throws in a build without CUDA.
std::unique_ptr<Ops> make_gpu_ops(int gpu, Device& device, Stream& stream);

cuda::DataType data_type(at::ScalarType type);
/// error: of a launch function of cuda/, a cudaError_t.
void check_launch(int error, const char* operation);

}  // namespace kente
