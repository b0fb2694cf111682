#include "tests/pretend/pretend_nccl.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <nccl.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "tests/pretend/pretend_gpu.h"

namespace {

using kente::pretend::PretendGpu;
using kente::pretend::PretendNode;
using Bytes = std::vector<std::byte>;

constexpr int kVersion = 22809;
constexpr int kAsksUntilTaken = 2;  // of a communicator's state

thread_local int other_version = 0;
std::atomic<int> failing_rank{-1}, failing_result{0};

enum class Kind { kAllReduce, kReduceScatter, kAllGather, kBroadcast, kMessage };

/// One operation as a member asks for it.
struct Request {
  Kind kind = Kind::kAllReduce;
  ncclDataType_t type = ncclUint8;
  ncclRedOp_t op = ncclSum;
  int root = 0;  // or the sender
  size_t count = 0;
  const void* from = nullptr;
  void* to = nullptr;
  size_t bytes_in = 0, bytes_out = 0;

  bool fits(const Request& other) const {
    return kind == other.kind && type == other.type && op == other.op && root == other.root &&
           count == other.count;
  }
};

/// One operation of all members.
struct Meeting {
  Request request;
  std::map<int, Bytes> inputs;
  int left = 0;
};

/// What the members of a communicator share.
struct World {
  std::mutex mutex;
  int size = 0, joined = 0;
  bool mismatched = false;
  std::map<int64_t, Meeting> meetings;  // by number
};

/// One member's.
struct Member {
  std::shared_ptr<World> world;
  int rank = 0;
  std::atomic<bool> aborted{false};
  int64_t next = 0;
  int asked = 0;                // for its state, since the last operation
  std::function<void()> taken;  // puts the last operation into its stream
};

std::mutex registry_mutex;
std::map<std::string, std::weak_ptr<World>> registry;
int64_t ids = 0;

size_t size_of(ncclDataType_t type) {
  switch (type) {
    case ncclUint8:
      return 1;
    case ncclFloat16:
    case ncclBfloat16:
      return 2;
    case ncclInt32:
    case ncclFloat32:
      return 4;
    default:
      return 8;
  }
}

template <typename T>
T widened(T value) {
  return value;
}
float widened(__half value) { return __half2float(value); }
float widened(__nv_bfloat16 value) { return __bfloat162float(value); }

template <typename T>
void narrow(T value, T& to) {
  to = value;
}
void narrow(float value, __half& to) { to = __float2half_rn(value); }
void narrow(float value, __nv_bfloat16& to) { to = __float2bfloat16_rn(value); }

template <typename T>
T combined(T a, T b, ncclRedOp_t op) {
  if (op == ncclMin) return std::min(a, b);
  if (op == ncclMax) return std::max(a, b);
  return static_cast<T>(a + b);
}

template <typename T>
void combine(Bytes& into, const Bytes& other, ncclRedOp_t op) {
  for (size_t at = 0; at < into.size(); at += sizeof(T)) {
    T a{}, b{};
    std::memcpy(&a, &into[at], sizeof a);
    std::memcpy(&b, &other[at], sizeof b);
    narrow(combined(widened(a), widened(b), op), a);
    std::memcpy(&into[at], &a, sizeof a);
  }
}

void combine(Bytes& into, const Bytes& other, const Request& request) {
  switch (request.type) {
    case ncclUint8:
      return combine<uint8_t>(into, other, request.op);
    case ncclInt32:
      return request.op == ncclSum ? combine<uint32_t>(into, other, request.op)
                                   : combine<int32_t>(into, other, request.op);
    case ncclInt64:
      return request.op == ncclSum ? combine<uint64_t>(into, other, request.op)
                                   : combine<int64_t>(into, other, request.op);
    case ncclFloat32:
      return combine<float>(into, other, request.op);
    case ncclFloat64:
      return combine<double>(into, other, request.op);
    case ncclFloat16:
      return combine<__half>(into, other, request.op);
    case ncclBfloat16:
      return combine<__nv_bfloat16>(into, other, request.op);
  }
}

/// What a member gets.
Bytes output_of(const Meeting& meeting, const Request& request, int rank) {
  switch (request.kind) {
    case Kind::kAllGather: {
      Bytes all;
      for (const auto& [from, input] : meeting.inputs)
        all.insert(all.end(), input.begin(), input.end());
      return all;
    }
    case Kind::kBroadcast:
    case Kind::kMessage:
      return meeting.inputs.at(request.root);
    default: {
      Bytes sum = meeting.inputs.begin()->second;
      for (auto input = std::next(meeting.inputs.begin()); input != meeting.inputs.end(); ++input)
        combine(sum, input->second, request);
      if (request.kind == Kind::kAllReduce) return sum;
      const auto part = static_cast<ptrdiff_t>(request.bytes_out);
      return {sum.begin() + rank * part, sum.begin() + (rank + 1) * part};
    }
  }
}

bool lives(PretendGpu& gpu, const void* at, size_t bytes) {
  return bytes == 0 || gpu.memory().find(static_cast<const std::byte*>(at),
                                         static_cast<int64_t>(bytes)) != nullptr;
}

/// True when all members are there, or nobody waits any more.
bool meet(Member& member, int64_t number, const Request& request) {
  if (member.aborted) return true;
  World& world = *member.world;
  const std::lock_guard lock(world.mutex);
  Meeting& meeting = world.meetings[number];
  if (!meeting.inputs.contains(member.rank)) {
    if (meeting.inputs.empty()) meeting.request = request;
    if (!meeting.request.fits(request)) world.mismatched = true;
    const auto* from = static_cast<const std::byte*>(request.from);
    meeting.inputs[member.rank] = Bytes(from, from + request.bytes_in);
  }
  return world.mismatched || static_cast<int>(meeting.inputs.size()) == world.size;
}

cudaError_t leave(Member& member, int64_t number, const Request& request) {
  if (member.aborted) return cudaSuccess;
  World& world = *member.world;
  const std::lock_guard lock(world.mutex);
  if (world.mismatched) return cudaErrorLaunchFailure;
  Meeting& meeting = world.meetings.at(number);
  if (request.bytes_out > 0) {
    const Bytes output = output_of(meeting, request, member.rank);
    std::memcpy(request.to, output.data(), request.bytes_out);
  }
  if (++meeting.left == world.size) world.meetings.erase(number);
  return cudaSuccess;
}

}  // namespace

struct ncclComm {
  std::shared_ptr<Member> member = std::make_shared<Member>();
};

namespace {

ncclResult_t ask(ncclComm_t comm, cudaStream_t stream, const Request& request) {
  const std::shared_ptr<Member>& member = comm->member;
  if (member->taken) return ncclInvalidUsage;
  if (stream == nullptr) return ncclInvalidArgument;
  member->asked = 0;
  member->taken = [member, stream, request, number = member->next++] {
    PretendGpu& gpu = PretendNode::current()->gpu(stream->gpu);
    gpu.put(stream, {.what = "NCCL",
                     .ready =
                         [=, &gpu] {
                           return !lives(gpu, request.from, request.bytes_in) ||
                                  meet(*member, number, request);
                         },
                     .run =
                         [=, &gpu] {
                           if (!lives(gpu, request.from, request.bytes_in) ||
                               !lives(gpu, request.to, request.bytes_out))
                             return cudaErrorIllegalAddress;
                           return leave(*member, number, request);
                         }});
  };
  return ncclInProgress;
}

}  // namespace

namespace kente::pretend {

void fail_nccl(int rank, int result) {
  failing_rank = rank;
  failing_result = result;
}

void set_nccl_version(int version) { other_version = version; }

}  // namespace kente::pretend

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
  *version = other_version != 0 ? other_version : kVersion;
  return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const std::lock_guard lock(registry_mutex);
  std::memset(id->internal, 0, sizeof id->internal);
  const std::string name = "id " + std::to_string(ids++);
  std::memcpy(id->internal, name.data(), name.size());
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  if (config->blocking != 0 || rank < 0 || rank >= ranks) return ncclInvalidArgument;
  *comm = new ncclComm;
  const std::lock_guard lock(registry_mutex);
  std::weak_ptr<World>& known = registry[id.internal];
  std::shared_ptr<World> world = known.lock();
  if (!world) known = world = std::make_shared<World>();
  const std::lock_guard world_lock(world->mutex);
  world->size = ranks;
  ++world->joined;
  (*comm)->member->world = std::move(world);
  (*comm)->member->rank = rank;
  return ncclInProgress;
}

ncclResult_t ncclCommFinalize(ncclComm_t) { return ncclSuccess; }

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
  comm->member->aborted = true;
  delete comm;
  return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) {
  Member& member = *comm->member;
  if (failing_result != 0 && failing_rank == member.rank) {
    *error = static_cast<ncclResult_t>(failing_result.load());
    return ncclSuccess;
  }
  *error = ncclInProgress;
  {
    const std::lock_guard lock(member.world->mutex);
    if (member.world->mismatched) *error = ncclInvalidUsage;
    if (member.world->joined < member.world->size) return ncclSuccess;
  }
  if (++member.asked < kAsksUntilTaken) return ncclSuccess;
  if (member.taken) std::exchange(member.taken, nullptr)();
  if (*error == ncclInProgress) *error = ncclSuccess;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote process exited" : "pretended error";
}

const char* ncclGetLastError(ncclComm_t) { return ""; }

ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  const size_t bytes = count * size_of(type);
  return ask(comm, stream, {Kind::kAllReduce, type, op, 0, count, from, to, bytes, bytes});
}

ncclResult_t ncclReduceScatter(const void* from, void* to, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
  const size_t bytes = count * size_of(type);
  const auto ranks = static_cast<size_t>(comm->member->world->size);
  return ask(comm, stream,
             {Kind::kReduceScatter, type, op, 0, count, from, to, ranks * bytes, bytes});
}

ncclResult_t ncclAllGather(const void* from, void* to, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream) {
  const size_t bytes = count * size_of(type);
  const auto ranks = static_cast<size_t>(comm->member->world->size);
  return ask(comm, stream,
             {Kind::kAllGather, type, ncclSum, 0, count, from, to, bytes, ranks * bytes});
}

ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream) {
  const size_t bytes = count * size_of(type);
  const bool sends = comm->member->rank == root;
  return ask(comm, stream,
             {Kind::kBroadcast, type, ncclSum, root, count, from, to, sends ? bytes : 0,
              sends ? 0 : bytes});
}

ncclResult_t ncclSend(const void* from, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream) {
  if (peer == comm->member->rank) return ncclInvalidArgument;
  return ask(comm, stream,
             {Kind::kMessage, type, ncclSum, comm->member->rank, count, from, nullptr,
              count * size_of(type), 0});
}

ncclResult_t ncclRecv(void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
  if (peer == comm->member->rank) return ncclInvalidArgument;
  return ask(comm, stream,
             {Kind::kMessage, type, ncclSum, peer, count, nullptr, to, 0, count * size_of(type)});
}
}
