#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "csrc/base/clock.h"
#include "csrc/base/progress_board.h"
#include "csrc/base/unique_handle.h"

namespace kente {

struct Hello {
  std::string token;
  int rank = 0, size = 0;
  int64_t pid = 0;
  std::string host;

  bool operator==(const Hello&) const = default;
};
struct Goodbye {
  int status = 0;
  bool operator==(const Goodbye&) const = default;
};
enum class Order {
  kStop,  // finish the step, store it, leave
  kGo     // to ranks that stand by: begin
};
/// A rank that stands by has everything loaded.
struct Ready {
  bool operator==(const Ready&) const = default;
};
using ControlFrame = std::variant<Hello, ProgressBoard::Entry, Goodbye, Order, Ready>;

inline constexpr size_t kMostFrameBytes = 64 << 10;

/// 4 bytes of length, little endian, then a protobuf ControlFrame.
std::string encode_frame(const ControlFrame& frame);

/// Takes the first frame off bytes that arrived; empty: it is not complete yet. The bytes are
/// hostile: throws FormatError for a frame that is too long, not a ControlFrame, or out of range.
std::optional<ControlFrame> take_frame(std::string& bytes);

struct CloseDescriptor {
  static int none() { return -1; }
  void operator()(int fd) const;
};
using Descriptor = UniqueHandle<int, CloseDescriptor>;

/// A rank's end of the control connection. Thread-safe for one sender and one receiver.
class ControlClient {
 public:
  /// Connects to "host:port" and says hello. Throws PeerError.
  ControlClient(const std::string& address, const Hello& hello, const Deadline& deadline);

  /// False once the supervisor is gone; never blocks for longer than a full socket buffer.
  bool send(const ControlFrame& frame);
  /// An order that has arrived; waits for at most so long.
  std::optional<Order> receive(int timeout_ms);

 private:
  Descriptor socket_;
  std::string received_;
};

/// The supervisor's end: hears all ranks of one start. One thread.
class ControlServer {
 public:
  struct Options {
    std::string host = "127.0.0.1";  // a private address where ranks run on other nodes
    std::string token;
    int most_connections = 4096;
    double hello_seconds = 5;  // a connection that has not said hello by then is closed
  };
  /// Listens on a port the system chooses. Throws UsageError naming what is wrong with the address:
  /// public ones are refused.
  explicit ControlServer(const Options& options);
  ~ControlServer();

  std::string address() const;

  struct Event {
    enum class Kind { kJoined, kReady, kProgress, kLeft, kLost, kRefused } kind = Kind::kJoined;
    int rank = -1;
    Hello hello = {};                    // kJoined
    ProgressBoard::Entry progress = {};  // kProgress
    int status = 0;                      // kLeft: it said goodbye
    std::string why = {};                // kRefused
  };
  /// What has happened since; waits for at most so long. wake: a descriptor that ends the wait when
  /// it can be read, -1: none.
  std::vector<Event> poll(int timeout_ms, int wake = -1);
  void tell_all(Order order);

 private:
  struct Connection;
  void accept_all(std::vector<Event>& events);
  bool read_from(Connection& connection, std::vector<Event>& events);
  bool heard(Connection& connection, const ControlFrame& frame, std::vector<Event>& events);

  const Options options_;
  Descriptor listener_;
  std::vector<std::unique_ptr<Connection>> connections_;
};

}  // namespace kente
