#include "comm/nccl.h"

#include <nccl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "comm/nccl_channel.h"
#include "comm/nccl_work.h"
#include "csrc/base/errors.h"
#include "csrc/base/hash.h"

namespace kente {
namespace {

constexpr int kIdTag = 1;  // of a communicator that nobody else uses

ncclDataType_t type_of(DType dtype) {
  switch (dtype) {
    case DType::kU8:
      return ncclUint8;
    case DType::kI32:
      return ncclInt32;
    case DType::kI64:
      return ncclInt64;
    case DType::kF16:
      return ncclFloat16;
    case DType::kBF16:
      return ncclBfloat16;
    case DType::kF32:
      return ncclFloat32;
    case DType::kF64:
      return ncclFloat64;
    default:
      throw InternalError("NCCL and dtype " + std::string(name_of(dtype)));
  }
}

ncclRedOp_t op_of(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return ncclSum;
    case ReduceOp::kMin:
      return ncclMin;
    case ReduceOp::kMax:
      return ncclMax;
  }
  throw InternalError("NCCL and an unknown operation");
}

size_t count_of(const BufferView& view) { return static_cast<size_t>(view.count); }

using Call = NcclWork::Call;

/// A call, with the types that NCCL has for what it is given.
template <typename Function>
Call typed(Function function) {
  return [function](void* comm, void* stream) -> int {
    return function(static_cast<ncclComm_t>(comm), static_cast<cudaStream_t>(stream));
  };
}

class NcclCommunicator : public OverInner {
 public:
  /// control: of these ranks, for nothing but this.
  NcclCommunicator(std::shared_ptr<NcclRank> own, std::unique_ptr<Communicator> control)
      : OverInner(pump_of(own), std::move(control)),
        own_(std::move(own)),
        host_(make_pumped(pump_, inner_)) {}

  std::unique_ptr<Work> isend(BufferView data, int to, int tag) override {
    SendLane& lane = sends_[to];
    if (!lane.channel)
      lane.channel =
          pair("to", to, 0, [this, to](BufferView id) { return inner_.isend(id, to, kIdTag); });
    return begun(std::make_unique<SendWork>(
        *own_, lane, message(data, to, tag), text("isend", to, tag),
        typed([=](ncclComm_t comm, cudaStream_t stream) {
          return ncclSend(data.data, count_of(data), type_of(data.dtype), 1, comm, stream);
        })));
  }
  std::unique_ptr<Work> irecv(BufferView data, int from, int tag) override {
    ReceiveLane& lane = receives_[from];
    if (!lane.channel)
      lane.channel = pair("from", from, 1,
                          [this, from](BufferView id) { return inner_.irecv(id, from, kIdTag); });
    return begun(std::make_unique<ReceiveWork>(
        *own_, lane, message(data, from, tag), text("irecv", from, tag),
        typed([=](ncclComm_t comm, cudaStream_t stream) {
          return ncclRecv(data.data, count_of(data), type_of(data.dtype), 0, comm, stream);
        })));
  }
  std::unique_ptr<Work> all_reduce(BufferView data, ReduceOp op) override {
    return collective("all_reduce", typed([=](ncclComm_t comm, cudaStream_t stream) {
                        return ncclAllReduce(data.data, data.data, count_of(data),
                                             type_of(data.dtype), op_of(op), comm, stream);
                      }));
  }
  std::unique_ptr<Work> reduce_scatter(BufferView input, BufferView output) override {
    return collective("reduce_scatter", typed([=](ncclComm_t comm, cudaStream_t stream) {
                        return ncclReduceScatter(input.data, output.data, count_of(output),
                                                 type_of(output.dtype), ncclSum, comm, stream);
                      }));
  }
  std::unique_ptr<Work> all_gather(BufferView input, BufferView output) override {
    return collective("all_gather", typed([=](ncclComm_t comm, cudaStream_t stream) {
                        return ncclAllGather(input.data, output.data, count_of(input),
                                             type_of(input.dtype), comm, stream);
                      }));
  }
  std::unique_ptr<Work> broadcast(BufferView data, int root) override {
    return collective("broadcast", typed([=](ncclComm_t comm, cudaStream_t stream) {
                        return ncclBroadcast(data.data, data.data, count_of(data),
                                             type_of(data.dtype), root, comm, stream);
                      }));
  }
  void barrier(const Deadline& deadline) override { host_->barrier(deadline); }
  std::unique_ptr<Communicator> split(int color, int key) override {
    auto part = inner_.split(color, key);
    if (!part) return nullptr;
    return std::make_unique<NcclCommunicator>(own_, std::move(part));
  }

 private:
  std::string text(const char* name, int peer = -1, int tag = -1) const {
    std::string text = "rank " + std::to_string(rank()) + ": NCCL " + name;
    if (peer >= 0) text += ", peer rank " + std::to_string(peer) + ", tag " + std::to_string(tag);
    return text;
  }
  NcclMessage message(BufferView data, int peer, int tag) const {
    return {.control = inner_, .peer = peer, .tag = tag, .bytes = data.bytes()};
  }
  std::unique_ptr<NcclChannel> pair(const char* direction, int peer, int place,
                                    const NcclChannel::Exchange& exchange) {
    return std::make_unique<NcclChannel>(own_->device,
                                         "rank " + std::to_string(rank()) + ": messages " +
                                             direction + " rank " + std::to_string(peer),
                                         place, 2, exchange);
  }
  std::unique_ptr<Work> collective(const char* name, Call call) {
    if (!group_)
      group_ =
          std::make_unique<NcclChannel>(own_->device, text("collectives"), rank(), size(),
                                        [this](BufferView id) { return inner_.broadcast(id, 0); });
    auto work =
        std::make_unique<NcclWork>(*own_, *group_, own_->collectives, text(name), std::move(call));
    own_->collectives.push_back(work.get());
    return begun(std::move(work));
  }
  static std::unique_ptr<Work> begun(std::unique_ptr<Work> work) {
    work->done();
    return work;
  }

  const std::shared_ptr<NcclRank> own_;
  const std::unique_ptr<Communicator> host_;
  std::map<int, SendLane> sends_;  // by peer
  std::map<int, ReceiveLane> receives_;
  std::unique_ptr<NcclChannel> group_;
};

/// Rings sum in an order that depends on nothing but the ranks; and GPUs of several generations,
/// left to themselves, may choose differently. What a user has set stays.
void settle_algorithms() {
  static std::once_flag once;
  std::call_once(once, [] {
    ::setenv("NCCL_ALGO", "Ring", 0);
    ::setenv("NCCL_PROTO", "Simple", 0);
  });
}

std::string nccl_settings() {
  std::vector<std::string> settings;
  for (char** entry = environ; *entry != nullptr; ++entry)
    if (std::string(*entry).starts_with("NCCL_")) settings.emplace_back(*entry);
  std::ranges::sort(settings);
  std::string all;
  for (const std::string& setting : settings) all += setting + "\n";
  return all;
}

/// Ranks that would choose otherwise would wait for each other for ever.
void agree(Communicator& control, const Deadline& deadline) {
  settle_algorithms();
  int version = 0;
  ncclGetVersion(&version);
  const std::string settings = nccl_settings();
  std::array<int64_t, 2> mine = {version,
                                 static_cast<int64_t>(xxh3_64(settings.data(), settings.size()))};
  std::vector<int64_t> all(mine.size() * static_cast<size_t>(control.size()));
  control
      .all_gather(
          {.data = mine.data(), .count = static_cast<int64_t>(mine.size()), .dtype = DType::kI64},
          {.data = all.data(), .count = static_cast<int64_t>(all.size()), .dtype = DType::kI64})
      ->wait(deadline);
  for (size_t rank = 1; rank < static_cast<size_t>(control.size()); ++rank) {
    if (all[2 * rank] != all[0])
      throw UsageError("NCCL of rank " + std::to_string(rank) + " is " +
                       std::to_string(all[2 * rank]) + ", rank 0's is " + std::to_string(all[0]) +
                       ": install the same one everywhere");
    if (all[2 * rank + 1] != all[1])
      throw UsageError("the NCCL_* variables of rank " + std::to_string(rank) +
                       " differ from rank 0's: set the same ones everywhere (mpirun -x)");
  }
}

}  // namespace

bool has_nccl() { return true; }

DeviceCommunicators make_nccl(Communicator& inner, Device& device, Stream& compute,
                              const Deadline& deadline) {
  agree(inner, deadline);
  const auto own = std::make_shared<NcclRank>(inner, device, compute);
  return {.tensors = std::make_unique<NcclCommunicator>(own, inner.split(0, inner.rank())),
          .host = make_pumped(pump_of(own), inner)};
}

}  // namespace kente
