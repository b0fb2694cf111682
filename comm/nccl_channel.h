#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>

#include "comm/pumped.h"
#include "csrc/device/device.h"

namespace kente {

/// One communicator of NCCL's with its stream, from the way of its id to its end. Nothing here
/// blocks: who wants something asks again. One thread.
class NcclChannel {
 public:
  /// Starts the way of the id between its members: from the first of them to all others.
  using Exchange = std::function<std::unique_ptr<Work>(BufferView id)>;
  /// name: for messages. Calls exchange.
  NcclChannel(Device& device, std::string name, int rank, int size, const Exchange& exchange);
  /// Waits, not for long, until nothing is under way; ends what is, if something failed.
  ~NcclChannel();
  NcclChannel(const NcclChannel&) = delete;
  NcclChannel& operator=(const NcclChannel&) = delete;

  /// Operations can be started; gets itself ready. Throws PeerError for an error of NCCL's.
  bool ready();
  /// What was started last has been taken over by NCCL; false: ask again before anything else.
  bool settled();
  /// result: of a function that starts an operation; settled() tells when it is started. Throws
  /// PeerError.
  void check(int result, const std::string& what);
  /// Ends what is under way; nothing can be started any more.
  void give_up();

  void* native() const { return comm_; }  // an ncclComm_t, when ready()
  Stream& stream() { return *stream_; }

 private:
  enum class State { kExchanging, kStarting, kReady, kGivenUp };
  static constexpr size_t kIdBytes = 128;
  void start();

  const std::string name_;
  const int rank_, size_;
  const std::unique_ptr<Stream> stream_;
  State state_ = State::kExchanging;
  std::array<char, kIdBytes> id_{};
  std::unique_ptr<Work> id_on_its_way_;
  void* comm_ = nullptr;
};

}  // namespace kente
