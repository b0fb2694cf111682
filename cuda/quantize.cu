#include "cuda/quantize.h"

#include "cuda/flat.cuh"

namespace kente::cuda {
namespace {

// A warp has two groups, of which a lane computes on four quads; sixteen lanes share a wire block.
// A quad becomes one word: four bytes of int8, or two bytes of int4.
constexpr int kWarpElements = 2 * kGroup;
constexpr int kQuads = kWarpElements / kWarp / 4;
constexpr int kQuadElements = kWarpElements / kQuads;
constexpr int kBlockLanes = static_cast<int>(kWireBlock) / 4;

template <WireType kType>
struct Wire {
  static constexpr int kBits = kType == WireType::kInt8 ? 8 : 4;
  static constexpr float kMost = kType == WireType::kInt8 ? 127.0f : 7.0f;
  /// Lanes that have an access of 16 bytes.
  static constexpr int kLanes = kWarpElements * kBits / 8 / 16;
  /// Lanes whose words one access holds.
  static constexpr int kSources = 16 * 8 / kBits / 4;
};

struct Words {
  uint32_t of_quad[kQuads];
};

__device__ __forceinline__ int64_t element_of(int quad) {
  return int64_t{quad} * kQuadElements + threadIdx.x % kWarp * 4;
}

/// The sixteen bytes of this lane's access, out of the words of all lanes.
template <WireType kType>
__device__ __forceinline__ Vector<uint8_t, 16> gather(const Words& words) {
  constexpr int kSources = Wire<kType>::kSources, kQuadAccesses = kWarp / kSources;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int quad = lane / kQuadAccesses % kQuads, first = lane % kQuadAccesses * kSources;
  uint32_t out[4] = {};
  KENTE_UNROLL
  for (int source = 0; source < kSources; ++source) {
    uint32_t word = 0;
    KENTE_UNROLL
    for (int q = 0; q < kQuads; ++q) {
      const uint32_t other = __shfl_sync(kAllLanes, words.of_quad[q], first + source);
      if (q == quad) word = other;
    }
    const int bit = source * 4 * Wire<kType>::kBits;
    out[bit / 32] |= word << bit % 32;
  }
  Vector<uint8_t, 16> bytes;
  memcpy(&bytes, out, 16);
  return bytes;
}

/// And back: the words of this lane's quads, out of all lanes' accesses.
template <WireType kType>
__device__ __forceinline__ Words scatter(const Vector<uint8_t, 16>& bytes) {
  constexpr int kSources = Wire<kType>::kSources, kQuadAccesses = kWarp / kSources;
  constexpr uint32_t kMask = kType == WireType::kInt8 ? 0xffffffffu : 0xffffu;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int bit = lane % kSources * 4 * Wire<kType>::kBits;
  uint32_t in[4];
  memcpy(in, &bytes, 16);
  Words words;
  KENTE_UNROLL
  for (int quad = 0; quad < kQuads; ++quad) {
    uint32_t word = 0;
    KENTE_UNROLL
    for (int w = 0; w < 4; ++w) {
      const uint32_t other = __shfl_sync(kAllLanes, in[w], quad * kQuadAccesses + lane / kSources);
      if (w == bit / 32) word = other;
    }
    words.of_quad[quad] = word >> bit % 32 & kMask;
  }
  return words;
}

/// Quantises four elements, which become what stays behind; the scale is the block's.
template <WireType kType>
__device__ __forceinline__ uint32_t quantize_quad(float (&x)[4], float& scale) {
  constexpr uint32_t kMask = kType == WireType::kInt8 ? 0xffu : 0xfu;
  float most = 0;
  KENTE_UNROLL
  for (int i = 0; i < 4; ++i) most = fmaxf(most, x[i] - x[i] == 0.0f ? fabsf(x[i]) : INFINITY);
  most = warp_max<kBlockLanes>(most);
  const bool finite = most < INFINITY;
  scale = finite ? most / Wire<kType>::kMost : NAN;
  uint32_t word = 0;
  KENTE_UNROLL
  for (int i = 0; i < 4; ++i) {
    const float q = finite && scale > 0.0f ? rintf(x[i] / scale) : 0.0f;
    const float kept = fminf(fmaxf(q, -Wire<kType>::kMost), Wire<kType>::kMost);
    x[i] = finite ? x[i] - scale * kept : 0.0f;
    word |= (static_cast<uint32_t>(static_cast<int>(kept)) & kMask) << i * Wire<kType>::kBits;
  }
  return word;
}

template <WireType kType>
__device__ __forceinline__ void store_words(Global<uint8_t> to, int64_t begin, int64_t blocks,
                                            const Words& words) {
  constexpr int kBits = Wire<kType>::kBits;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  if (begin + kWarpElements <= blocks * kWireBlock) {
    const Vector<uint8_t, 16> bytes = gather<kType>(words);
    if (lane < Wire<kType>::kLanes) to.store<16>(begin * kBits / 8 + lane * 16, bytes);
    return;
  }
  KENTE_UNROLL
  for (int quad = 0; quad < kQuads; ++quad) {
    const int64_t element = begin + element_of(quad);
    if (element >= blocks * kWireBlock) continue;
    for (int byte = 0; byte < kBits / 2; ++byte)
      to.store_one(element * kBits / 8 + byte,
                   static_cast<uint8_t>(words.of_quad[quad] >> 8 * byte));
  }
}

template <WireType kType>
__device__ __forceinline__ Words load_words(Global<const uint8_t> from, int64_t begin,
                                            int64_t blocks) {
  constexpr int kBits = Wire<kType>::kBits;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  if (begin + kWarpElements <= blocks * kWireBlock) {
    Vector<uint8_t, 16> bytes{};
    if (lane < Wire<kType>::kLanes) bytes = from.load<16>(begin * kBits / 8 + lane * 16);
    return scatter<kType>(bytes);
  }
  Words words{};
  KENTE_UNROLL
  for (int quad = 0; quad < kQuads; ++quad) {
    const int64_t element = begin + element_of(quad);
    if (element >= blocks * kWireBlock) continue;
    for (int byte = 0; byte < kBits / 2; ++byte)
      words.of_quad[quad] |= uint32_t{from.load_one(element * kBits / 8 + byte)} << 8 * byte;
  }
  return words;
}

template <WireType kType>
__global__ void __launch_bounds__(kGroupThreads)
    quantize_kernel(Global<const float> values, Global<float> error, int64_t count,
                    Global<uint8_t> integers, Global<float> scales) {
  const int64_t begin = group_of_warp() * kWarpElements, blocks = (count - 1) / kWireBlock + 1;
  if (begin >= count) return;
  Words words;
  KENTE_UNROLL
  for (int group = 0; group < 2; ++group) {
    const int64_t at = begin + group * kGroup;
    GroupPart x{}, before{};
    if (at < count) {
      x = load_any(values, at, count);
      before = load_any(error.read_only(), at, count);
    }
    KENTE_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int quad = 2 * group + half;
      float four[4], scale = 0;
      KENTE_UNROLL
      for (int i = 0; i < 4; ++i) four[i] = x[4 * half + i] + before[4 * half + i];
      words.of_quad[quad] = quantize_quad<kType>(four, scale);
      const int64_t block = (begin + element_of(quad)) / kWireBlock;
      if (threadIdx.x % kBlockLanes == 0 && block < blocks) scales.store_one(block, scale);
      KENTE_UNROLL
      for (int i = 0; i < 4; ++i) x[4 * half + i] = four[i];
    }
    if (at < count) store_any(error, at, count, x);
  }
  store_words<kType>(integers, begin, blocks, words);
}

template <WireType kType>
__global__ void __launch_bounds__(kGroupThreads)
    dequantize_kernel(Global<const uint8_t> integers, Global<const float> scales, int64_t count,
                      Global<float> values) {
  constexpr int kBits = Wire<kType>::kBits;
  const int64_t begin = group_of_warp() * kWarpElements, blocks = (count - 1) / kWireBlock + 1;
  if (begin >= count) return;
  const Words words = load_words<kType>(integers, begin, blocks);
  KENTE_UNROLL
  for (int group = 0; group < 2; ++group) {
    GroupPart x{};
    KENTE_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int quad = 2 * group + half;
      const int64_t block = (begin + element_of(quad)) / kWireBlock;
      const float scale = block < blocks ? scales.load_one(block) : 0.0f;
      KENTE_UNROLL
      for (int i = 0; i < 4; ++i) {
        // The sign comes down from the top of the word.
        const auto top = static_cast<int>(words.of_quad[quad] << (32 - kBits * (i + 1)));
        x[4 * half + i] = scale * static_cast<float>(top >> (32 - kBits));
      }
    }
    const int64_t at = begin + group * kGroup;
    if (at < count) store_any(values, at, count, x);
  }
}

dim3 wire_grid(int64_t count) { return group_grid(ceil_div(count, 2)); }

template <class Launch>
cudaError_t with_wire(WireType type, const Launch& launch) {
  switch (type) {
    case WireType::kInt8:
      return launch.template operator()<WireType::kInt8>();
    case WireType::kInt4:
      return launch.template operator()<WireType::kInt4>();
  }
  return cudaErrorInvalidValue;
}

}  // namespace

int64_t wire_blocks(int64_t count) { return ceil_div(count, kWireBlock); }

int64_t wire_bytes(WireType type, int64_t count) {
  return wire_blocks(count) * kWireBlock / (type == WireType::kInt8 ? 1 : 2);
}

cudaError_t quantize(const Quantize& op, const Queue& queue) {
  if (!valid_count(op.count) || !aligned(op.values, op.error, op.integers, op.scales))
    return cudaErrorInvalidValue;
  return with_wire(op.type, [&]<WireType kType>() {
    return KENTE_LAUNCH(quantize_kernel<kType>, wire_grid(op.count), dim3(kGroupThreads), 0,
                        queue.stream, Global(op.values), Global(op.error), op.count,
                        Global(op.integers), Global(op.scales));
  });
}

cudaError_t dequantize(const Dequantize& op, const Queue& queue) {
  if (!valid_count(op.count) || !aligned(op.integers, op.scales, op.values))
    return cudaErrorInvalidValue;
  return with_wire(op.type, [&]<WireType kType>() {
    return KENTE_LAUNCH(dequantize_kernel<kType>, wire_grid(op.count), dim3(kGroupThreads), 0,
                        queue.stream, Global(op.integers), Global(op.scales), op.count,
                        Global(op.values));
  });
}

}  // namespace kente::cuda
