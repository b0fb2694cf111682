#include "launch/heartbeat.h"

#include <stdlib.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <string>
#include <utility>

#include "csrc/base/errors.h"

namespace kente {
namespace {

constexpr int kBeatMs = 50;
constexpr double kConnectSeconds = 5;

std::string from_environment(const char* name) {
  const char* value = ::getenv(name);
  return value ? value : "";
}

std::string host_name() {
  std::array<char, 256> name{};
  ::gethostname(name.data(), name.size() - 1);
  return name.data();
}

}  // namespace

std::unique_ptr<Heartbeat> Heartbeat::start(const ProgressBoard& board, int rank, int size) {
  const std::string address = from_environment("KENTE_CONTROL");
  if (address.empty()) return nullptr;
  return std::make_unique<Heartbeat>(board, address,
                                     Hello{.token = from_environment("KENTE_CONTROL_TOKEN"),
                                           .rank = rank,
                                           .size = size,
                                           .pid = ::getpid(),
                                           .host = host_name()});
}

Heartbeat::Heartbeat(const ProgressBoard& board, const std::string& address, const Hello& hello)
    : board_(board),
      client_(address, hello, Deadline::after_seconds(kConnectSeconds)),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

void Heartbeat::run(const std::stop_token& stop) {
  bool told_ready = false;
  try {
    while (!stop.stop_requested() && client_.send(board_.read())) {
      if (ready_ && !std::exchange(told_ready, true)) client_.send(Ready{});
      const std::optional<Order> order = client_.receive(kBeatMs);
      if (order == Order::kStop) stop_ordered_.store(true, std::memory_order_relaxed);
      if (order == Order::kGo) hand_on(Word::kGo);
    }
  } catch (const FormatError&) {
    // Not our supervisor: train on without one.
  }
  hand_on(Word::kGone);
}

void Heartbeat::hand_on(Word word) {
  Word none = Word::kNone;
  word_.compare_exchange_strong(none, word);
  word_.notify_all();
}

bool Heartbeat::stand_by() {
  ready_ = true;
  word_.wait(Word::kNone);
  return word_ == Word::kGo;
}

void Heartbeat::goodbye(int status) {
  thread_.request_stop();
  thread_.join();
  client_.send(board_.read());
  client_.send(Goodbye{.status = status});
}

}  // namespace kente
