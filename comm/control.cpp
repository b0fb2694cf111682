#include "comm/control.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

#include "comm/control.pb.h"
#include "csrc/base/errors.h"

namespace kente {
namespace {

constexpr size_t kLengthBytes = 4;
constexpr int kMostRanks = 1 << 20;
constexpr size_t kMostText = 256;
const std::string kFrom = "a control message";

std::string why_errno() { return std::strerror(errno); }

proto::ControlFrame to_proto(const ControlFrame& frame) {
  proto::ControlFrame out;
  if (const auto* hello = std::get_if<Hello>(&frame)) {
    out.mutable_hello()->set_token(hello->token);
    out.mutable_hello()->set_rank(hello->rank);
    out.mutable_hello()->set_size(hello->size);
    out.mutable_hello()->set_pid(hello->pid);
    out.mutable_hello()->set_host(hello->host);
  } else if (const auto* progress = std::get_if<ProgressBoard::Entry>(&frame)) {
    out.mutable_progress()->set_step(progress->step);
    out.mutable_progress()->set_phase(static_cast<int32_t>(progress->phase));
    out.mutable_progress()->set_micro_batch(progress->micro_batch);
    out.mutable_progress()->set_changes(progress->changes);
  } else if (const auto* goodbye = std::get_if<Goodbye>(&frame)) {
    out.mutable_goodbye()->set_status(goodbye->status);
  } else if (const auto* order = std::get_if<Order>(&frame)) {
    out.mutable_order()->set_kind(*order == Order::kGo ? proto::Order::GO : proto::Order::STOP);
  } else {
    out.mutable_ready();
  }
  return out;
}

Hello hello_of(const proto::Hello& hello) {
  if (hello.size() < 1 || hello.size() > kMostRanks || hello.rank() < 0 ||
      hello.rank() >= hello.size() || hello.pid() < 1)
    throw FormatError(kFrom, -1, "a hello without a rank");
  if (hello.token().size() > kMostText || hello.host().size() > kMostText)
    throw FormatError(kFrom, -1, "a hello with a text of more than 256 bytes");
  return {.token = hello.token(),
          .rank = hello.rank(),
          .size = hello.size(),
          .pid = hello.pid(),
          .host = hello.host()};
}

ControlFrame frame_of(const proto::ControlFrame& frame) {
  switch (frame.what_case()) {
    case proto::ControlFrame::kHello:
      return hello_of(frame.hello());
    case proto::ControlFrame::kProgress: {
      const proto::Progress& progress = frame.progress();
      if (progress.phase() < 0 || progress.phase() >= kPhases || progress.step() < 0)
        throw FormatError(kFrom, -1, "progress in a phase or step that does not exist");
      return ProgressBoard::Entry{.step = progress.step(),
                                  .phase = static_cast<Phase>(progress.phase()),
                                  .micro_batch = progress.micro_batch(),
                                  .changes = progress.changes()};
    }
    case proto::ControlFrame::kGoodbye:
      return Goodbye{.status = frame.goodbye().status()};
    case proto::ControlFrame::kOrder:
      if (!frame.order().has_kind()) break;
      return frame.order().kind() == proto::Order::GO ? Order::kGo : Order::kStop;
    case proto::ControlFrame::kReady:
      return Ready{};
    case proto::ControlFrame::WHAT_NOT_SET:
      break;
  }
  throw FormatError(kFrom, -1, "an empty frame");
}

bool same_token(const std::string& a, const std::string& b) {
  return a.size() == b.size() && !a.empty() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

/// 127/8, 10/8, 172.16/12, 192.168/16, 169.254/16, 100.64/10.
bool is_private(uint32_t address) {
  constexpr std::array<std::pair<uint32_t, uint32_t>, 6> kNets = {{{0x7f000000, 8},
                                                                   {0x0a000000, 8},
                                                                   {0xac100000, 12},
                                                                   {0xc0a80000, 16},
                                                                   {0xa9fe0000, 16},
                                                                   {0x64400000, 10}}};
  return std::any_of(kNets.begin(), kNets.end(), [&](const auto& net) {
    return (address ^ net.first) >> (32 - net.second) == 0;
  });
}

sockaddr_in parse_host(const std::string& host) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  if (::inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1)
    throw UsageError("control address '" + host + "' is no IPv4 address; name one of this machine");
  return address;
}

/// Everything that can be read now; false when the peer is gone.
bool read_all(int fd, std::string& into) {
  std::array<char, 4096> chunk;
  while (into.size() < 4 * kMostFrameBytes) {
    const ssize_t got = ::recv(fd, chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (got > 0) {
      into.append(chunk.data(), static_cast<size_t>(got));
    } else if (got == 0) {
      return false;
    } else if (errno != EINTR) {
      return errno == EAGAIN || errno == EWOULDBLOCK;
    }
  }
  return true;
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<size_t>(sent));
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace

void CloseDescriptor::operator()(int fd) const { ::close(fd); }

std::string encode_frame(const ControlFrame& frame) {
  const std::string body = to_proto(frame).SerializeAsString();
  std::string bytes(kLengthBytes, '\0');
  for (size_t i = 0; i < kLengthBytes; ++i)
    bytes[i] = static_cast<char>(body.size() >> (8 * i) & 0xff);
  return bytes + body;
}

std::optional<ControlFrame> take_frame(std::string& bytes) {
  if (bytes.size() < kLengthBytes) return std::nullopt;
  size_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i)
    length |= static_cast<size_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  if (length == 0 || length > kMostFrameBytes)
    throw FormatError(kFrom, 0, "a frame of " + std::to_string(length) + " bytes");
  if (bytes.size() < kLengthBytes + length) return std::nullopt;
  proto::ControlFrame frame;
  if (!frame.ParseFromArray(bytes.data() + kLengthBytes, static_cast<int>(length)))
    throw FormatError(kFrom, kLengthBytes, "no ControlFrame");
  bytes.erase(0, kLengthBytes + length);
  return frame_of(frame);
}

ControlClient::ControlClient(const std::string& address, const Hello& hello,
                             const Deadline& deadline) {
  const auto fail = [&](const std::string& why) {
    throw PeerError("no control connection to " + address + ": " + why);
  };
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) fail("want host:port");
  sockaddr_in to = parse_host(address.substr(0, colon));
  to.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
  socket_ = Descriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket_) fail(why_errno());
  const timeval limit = {.tv_sec = static_cast<time_t>(deadline.seconds_left()) + 1, .tv_usec = 0};
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0)
    fail(why_errno());
  const int on = 1;
  ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (!send(hello)) fail("it hung up");
}

bool ControlClient::send(const ControlFrame& frame) {
  return write_all(socket_.get(), encode_frame(frame));
}

std::optional<Order> ControlClient::receive(int timeout_ms) {
  pollfd wait = {.fd = socket_.get(), .events = POLLIN, .revents = 0};
  if (::poll(&wait, 1, timeout_ms) <= 0) return std::nullopt;
  read_all(socket_.get(), received_);
  const std::optional<ControlFrame> frame = take_frame(received_);
  if (!frame || !std::holds_alternative<Order>(*frame)) return std::nullopt;
  return std::get<Order>(*frame);
}

struct ControlServer::Connection {
  Descriptor socket;
  std::string received;
  Deadline hello_by = Deadline::never();
  int rank = -1;  // none before its hello
  bool said_goodbye = false;
};

ControlServer::ControlServer(const Options& options) : options_(options) {
  sockaddr_in address = parse_host(options.host);
  if (!is_private(ntohl(address.sin_addr.s_addr)))
    throw UsageError("control address " + options.host +
                     " is public; name a loopback or private address of this machine");
  listener_ = Descriptor(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener_ ||
      ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener_.get(), SOMAXCONN) != 0)
    throw UsageError("cannot listen on " + options.host + ": " + why_errno() +
                     "; name an address of this machine");
}

ControlServer::~ControlServer() = default;

std::string ControlServer::address() const {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return options_.host + ":" + std::to_string(ntohs(address.sin_port));
}

void ControlServer::accept_all(std::vector<Event>& events) {
  while (true) {
    Descriptor socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) return;
    if (connections_.size() >= static_cast<size_t>(options_.most_connections)) {
      events.push_back({.kind = Event::Kind::kRefused, .why = "too many connections"});
      continue;
    }
    auto connection = std::make_unique<Connection>();
    connection->socket = std::move(socket);
    connection->hello_by = Deadline::after_seconds(options_.hello_seconds);
    connections_.push_back(std::move(connection));
  }
}

bool ControlServer::heard(Connection& connection, const ControlFrame& frame,
                          std::vector<Event>& events) {
  const auto refuse = [&](const std::string& why) {
    events.push_back({.kind = Event::Kind::kRefused, .rank = connection.rank, .why = why});
    return false;
  };
  if (const auto* hello = std::get_if<Hello>(&frame)) {
    if (!same_token(hello->token, options_.token)) return refuse("a hello with a wrong token");
    const bool twice = std::any_of(connections_.begin(), connections_.end(),
                                   [&](const auto& other) { return other->rank == hello->rank; });
    if (connection.rank >= 0 || twice) return refuse("a rank that says hello twice");
    connection.rank = hello->rank;
    events.push_back({.kind = Event::Kind::kJoined, .rank = hello->rank, .hello = *hello});
    return true;
  }
  if (connection.rank < 0) return refuse("a connection that does not say hello first");
  if (const auto* progress = std::get_if<ProgressBoard::Entry>(&frame)) {
    events.push_back(
        {.kind = Event::Kind::kProgress, .rank = connection.rank, .progress = *progress});
  } else if (const auto* goodbye = std::get_if<Goodbye>(&frame)) {
    connection.said_goodbye = true;
    events.push_back(
        {.kind = Event::Kind::kLeft, .rank = connection.rank, .status = goodbye->status});
  } else if (std::holds_alternative<Ready>(frame)) {
    events.push_back({.kind = Event::Kind::kReady, .rank = connection.rank});
  } else {
    return refuse("an order from a rank");
  }
  return true;
}

/// False when the connection is to be closed.
bool ControlServer::read_from(Connection& connection, std::vector<Event>& events) {
  const bool alive = read_all(connection.socket.get(), connection.received);
  try {
    while (const std::optional<ControlFrame> frame = take_frame(connection.received))
      if (!heard(connection, *frame, events)) return false;
  } catch (const FormatError& error) {
    events.push_back({.kind = Event::Kind::kRefused, .rank = connection.rank, .why = error.what()});
    return false;
  }
  return alive;
}

std::vector<ControlServer::Event> ControlServer::poll(int timeout_ms, int wake) {
  std::vector<pollfd> waits;
  waits.reserve(connections_.size() + 2);
  waits.push_back({.fd = listener_.get(), .events = POLLIN, .revents = 0});
  waits.push_back({.fd = wake, .events = POLLIN, .revents = 0});
  for (const auto& connection : connections_)
    waits.push_back({.fd = connection->socket.get(), .events = POLLIN, .revents = 0});
  ::poll(waits.data(), waits.size(), timeout_ms);
  std::vector<Event> events;
  for (size_t i = 0; i + 2 < waits.size(); ++i) {
    Connection& connection = *connections_[i];
    bool open = true;
    if (waits[i + 2].revents != 0) open = read_from(connection, events);
    if (connection.rank < 0 && connection.hello_by.passed()) {
      events.push_back({.kind = Event::Kind::kRefused, .why = "no hello in time"});
      open = false;
    }
    if (open) continue;
    if (connection.rank >= 0 && !connection.said_goodbye)
      events.push_back({.kind = Event::Kind::kLost, .rank = connection.rank});
    connection.socket.reset();
  }
  std::erase_if(connections_, [](const auto& connection) { return !connection->socket; });
  if (waits[0].revents != 0) accept_all(events);
  return events;
}

void ControlServer::tell_all(Order order) {
  const std::string bytes = encode_frame(order);
  for (const auto& connection : connections_)
    if (connection->rank >= 0) write_all(connection->socket.get(), bytes);
}

}  // namespace kente
