#include "tests/pretend/pretend_tensors.h"

#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/view_native.h>
#include <torch/library.h>

#include <map>
#include <mutex>

#include "csrc/base/errors.h"
#include "csrc/device/device.h"
#include "csrc/nn/ops/element_type.h"
#include "csrc/nn/ops/gpu_ops.h"

namespace kente {
namespace {

using pretend::PretendNode;

constexpr int kNan = 0xff;

thread_local cudaStream_t bound_stream = nullptr;

/// Memory that tensors gave back, by GPU and size. What is queued in their stream from then on may
/// have it at once, as in libtorch's caching allocator.
class Pool {
 public:
  void clear(int gpu) {
    const std::lock_guard lock(mutex_);
    std::erase_if(free_, [&](const auto& entry) { return entry.first.first == gpu; });
  }
  void* take(int gpu, int64_t bytes) {
    {
      const std::lock_guard lock(mutex_);
      const auto found = free_.find({gpu, bytes});
      if (found != free_.end()) {
        void* const block = found->second;
        free_.erase(found);
        return block;
      }
    }
    void* block = nullptr;
    const cudaError_t error = PretendNode::current()->gpu(gpu).allocate(&block, bytes);
    if (error != cudaSuccess)
      throw DeviceError(std::string("a tensor: ") + cudaGetErrorName(error));
    return block;
  }
  /// NaN as soon as the stream gets there: a stream that did not wait reads it.
  void give_back(cudaStream_t stream, void* block, int64_t bytes) {
    if (PretendNode::current() == nullptr) return;
    cudaMemsetAsync(block, kNan, static_cast<size_t>(bytes), stream);
    const std::lock_guard lock(mutex_);
    free_.insert({{stream->gpu, bytes}, block});
  }

 private:
  std::mutex mutex_;
  std::multimap<std::pair<int, int64_t>, void*> free_;
};

Pool& pool() {
  static Pool pool;
  return pool;
}

struct Block {
  cudaStream_t stream;
  void* data;
  int64_t bytes;
};

void give_back(void* context) {
  const auto* block = static_cast<const Block*>(context);
  pool().give_back(block->stream, block->data, block->bytes);
  delete block;
}

at::Tensor empty(at::IntArrayRef sizes, std::optional<at::ScalarType> type,
                 std::optional<at::Layout>, std::optional<at::Device> device, std::optional<bool>,
                 std::optional<at::MemoryFormat>) {
  KENTE_CHECK(bound_stream != nullptr, "bind_tensors() before the first tensor");
  const at::ScalarType scalar = type.value_or(at::kFloat);
  int64_t count = 1;
  for (const int64_t size : sizes) count *= size;
  const auto bytes = std::max<int64_t>(1, count * static_cast<int64_t>(c10::elementSize(scalar)));
  const int gpu = device->has_index() ? device->index() : bound_stream->gpu;
  KENTE_CHECK(gpu == bound_stream->gpu, "a tensor on another GPU than this thread's");
  void* const data = pool().take(gpu, bytes);
  const at::Device on(at::kCUDA, static_cast<at::DeviceIndex>(gpu));
  at::DataPtr pointer(data, new Block{bound_stream, data, bytes}, give_back, on);
  c10::Storage storage(c10::Storage::use_byte_size_t(), static_cast<size_t>(bytes),
                       std::move(pointer), nullptr, false);
  at::Tensor tensor = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CUDA),
      c10::scalarTypeToTypeMeta(scalar));
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(sizes);
  return tensor;
}

/// Calls work with every index of a shape.
void for_each(const std::vector<int64_t>& sizes,
              const std::function<void(const std::vector<int64_t>&)>& work) {
  std::vector<int64_t> at(sizes.size(), 0);
  for (const int64_t size : sizes)
    if (size == 0) return;
  while (true) {
    work(at);
    size_t i = sizes.size();
    while (i > 0 && ++at[i - 1] == sizes[i - 1]) at[--i] = 0;
    if (i == 0) return;
  }
}

at::Tensor& copy(at::Tensor& to, const at::Tensor& from, bool) {
  KENTE_CHECK(to.is_cuda() && from.is_cuda() && to.sizes() == from.sizes() &&
                  to.scalar_type() == from.scalar_type(),
              "a copy that is not from one tensor of a GPU to another like it");
  const pretend::TensorAt target(to), source(from);
  pretend::queue_work(bound_stream, "a copy of a tensor", [=] {
    const pretend::DeviceArray b = target.open(), a = source.open();
    for_each(target.sizes, [&](const std::vector<int64_t>& at) { b.set(at, a.get(at)); });
  });
  return to;
}

at::Tensor sum(const at::Tensor& x, at::OptionalIntArrayRef dimensions, bool keep,
               std::optional<at::ScalarType>) {
  KENTE_CHECK(dimensions && dimensions->size() == 1 && !keep, "a sum over one dimension");
  const auto dimension = static_cast<size_t>(dimensions->front());
  std::vector<int64_t> sizes = x.sizes().vec();
  const int64_t count = sizes.at(dimension);
  sizes.erase(sizes.begin() + static_cast<int64_t>(dimension));
  at::Tensor total = at::empty(sizes, x.options());
  const pretend::TensorAt from(x), to(total);
  pretend::queue_work(bound_stream, "a sum", [=] {
    const pretend::DeviceArray b = to.open(), a = from.open();
    for_each(to.sizes, [&](const std::vector<int64_t>& at) {
      std::vector<int64_t> place = at;
      place.insert(place.begin() + static_cast<int64_t>(dimension), 0);
      double value = 0;
      for (int64_t i = 0; i < count; ++i) {
        place[dimension] = i;
        value += a.get(place);
      }
      b.set(at, value);
    });
  });
  return total;
}

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", TORCH_FN(empty));
  library.impl("view", TORCH_FN(at::native::view));
  library.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  library.impl("copy_", TORCH_FN(copy));
  library.impl("sum.dim_IntList", TORCH_FN(sum));
}

}  // namespace

void bind_tensors(int gpu, Stream& stream) {
  bound_stream = static_cast<cudaStream_t>(stream.native());
  KENTE_CHECK(bound_stream->gpu == gpu, "a stream of another GPU");
  pool().clear(gpu);
}

namespace pretend {

cudaStream_t tensor_stream() { return bound_stream; }

TensorAt::TensorAt(const at::Tensor& tensor)
    : gpu(tensor.device().index()),
      dtype(dtype_of(tensor.scalar_type())),
      data(tensor.mutable_data_ptr()),
      sizes(tensor.sizes().vec()),
      strides(tensor.strides().vec()) {}

DeviceArray TensorAt::open() const {
  return {PretendNode::current()->gpu(gpu), dtype, data, sizes, strides};
}

}  // namespace pretend
}  // namespace kente
