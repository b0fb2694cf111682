#include "comm/nccl_channel.h"

#include <nccl.h>

#include <cstring>

#include "csrc/base/backoff.h"
#include "csrc/base/errors.h"

namespace kente {
namespace {

constexpr double kEndSeconds = 10;

ncclComm_t native_of(void* comm) { return static_cast<ncclComm_t>(comm); }

[[noreturn]] void fail(const std::string& what, ncclResult_t result, void* comm) {
  const char* detail = ncclGetLastError(native_of(comm));
  throw PeerError(what + ": NCCL: " + ncclGetErrorString(result) +
                  (detail && *detail ? std::string(", ") + detail : "") + "; resume the run");
}

}  // namespace

NcclChannel::NcclChannel(Device& device, std::string name, int rank, int size,
                         const Exchange& exchange)
    : name_(std::move(name)),
      rank_(rank),
      size_(size),
      stream_(device.make_stream(Urgency::kUrgent)) {
  static_assert(kIdBytes == NCCL_UNIQUE_ID_BYTES);
  if (rank == 0) {
    ncclUniqueId id;
    const ncclResult_t result = ncclGetUniqueId(&id);
    if (result != ncclSuccess) fail(name_, result, nullptr);
    std::memcpy(id_.data(), id.internal, kIdBytes);
  }
  id_on_its_way_ =
      exchange({.data = id_.data(), .count = static_cast<int64_t>(kIdBytes), .dtype = DType::kU8});
}

NcclChannel::~NcclChannel() {
  if (!comm_ || state_ == State::kGivenUp) return;
  const Deadline deadline = Deadline::after_seconds(kEndSeconds);
  ncclResult_t state =
      state_ == State::kReady ? ncclCommFinalize(native_of(comm_)) : ncclInProgress;
  for (Backoff backoff; state == ncclInProgress && !deadline.passed(); backoff.pause())
    if (ncclCommGetAsyncError(native_of(comm_), &state) != ncclSuccess) break;
  if (state == ncclSuccess && state_ == State::kReady) {
    ncclCommDestroy(native_of(comm_));
  } else {
    ncclCommAbort(native_of(comm_));
  }
}

void NcclChannel::start() {
  ncclUniqueId id;
  std::memcpy(id.internal, id_.data(), kIdBytes);
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
  ncclComm_t comm = nullptr;
  const ncclResult_t result = ncclCommInitRankConfig(&comm, size_, id, rank_, &config);
  comm_ = comm;
  if (result != ncclSuccess && result != ncclInProgress) fail(name_, result, comm_);
}

bool NcclChannel::ready() {
  if (state_ == State::kExchanging) {
    if (!id_on_its_way_->done()) return false;
    id_on_its_way_.reset();
    start();
    state_ = State::kStarting;
  }
  if (!settled()) return false;
  state_ = State::kReady;
  return true;
}

bool NcclChannel::settled() {
  if (state_ == State::kGivenUp) throw PeerError(name_ + ": NCCL was ended; resume the run");
  ncclResult_t state = ncclSuccess;
  const ncclResult_t result = ncclCommGetAsyncError(native_of(comm_), &state);
  if (result != ncclSuccess) state = result;
  if (state == ncclInProgress) return false;
  if (state != ncclSuccess) fail(name_, state, comm_);
  return true;
}

void NcclChannel::check(int result, const std::string& what) {
  const auto code = static_cast<ncclResult_t>(result);
  if (code != ncclSuccess && code != ncclInProgress) fail(what, code, comm_);
}

void NcclChannel::give_up() {
  if (state_ == State::kGivenUp) return;
  state_ = State::kGivenUp;
  if (comm_) ncclCommAbort(native_of(comm_));
}

}  // namespace kente
