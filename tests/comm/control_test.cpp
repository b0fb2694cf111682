#include "comm/control.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <random>

#include "csrc/base/errors.h"

namespace kente {
namespace {

using Kind = ControlServer::Event::Kind;

Hello hello(int rank) {
  return {.token = "secret", .rank = rank, .size = 4, .pid = 77, .host = "here"};
}

class Control : public testing::Test {
 protected:
  /// Events until one of this kind arrived, or 5 s are over.
  ControlServer::Event next(Kind kind) {
    const Deadline deadline = Deadline::after_seconds(5);
    while (!deadline.passed()) {
      while (!heard_.empty()) {
        ControlServer::Event event = heard_.front();
        heard_.pop_front();
        if (event.kind == kind) return event;
        others_.push_back(event.kind);
      }
      for (ControlServer::Event& event : server_.poll(20)) heard_.push_back(std::move(event));
    }
    ADD_FAILURE() << "no event of kind " << static_cast<int>(kind);
    return {};
  }
  std::unique_ptr<ControlClient> connect(const Hello& said) {
    return std::make_unique<ControlClient>(server_.address(), said, Deadline::after_seconds(5));
  }
  /// A connection without manners.
  Descriptor raw(const std::string& bytes) {
    Descriptor socket(::socket(AF_INET, SOCK_STREAM, 0));
    const std::string address = server_.address();
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.find(':') + 1))));
    EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    EXPECT_EQ(::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
    return socket;
  }

  ControlServer server_{{.token = "secret", .most_connections = 4, .hello_seconds = 0.2}};
  std::deque<ControlServer::Event> heard_;
  std::vector<Kind> others_;
};

TEST_F(Control, TellsWhatARankSaysAndThatItEndsOrDies) {
  auto client = connect(hello(2));
  EXPECT_EQ(next(Kind::kJoined).hello, hello(2));
  client->send(
      ProgressBoard::Entry{.step = 5, .phase = Phase::kReduce, .micro_batch = -1, .changes = 9});
  const ControlServer::Event progress = next(Kind::kProgress);
  EXPECT_EQ(progress.rank, 2);
  EXPECT_EQ(progress.progress.step, 5);
  EXPECT_EQ(progress.progress.phase, Phase::kReduce);
  client->send(Goodbye{.status = 4});
  EXPECT_EQ(next(Kind::kLeft).status, 4);
  client.reset();
  auto other = connect(hello(1));
  next(Kind::kJoined);
  other.reset();
  EXPECT_EQ(next(Kind::kLost).rank, 1);
  EXPECT_EQ(std::count(others_.begin(), others_.end(), Kind::kLost), 0)
      << "a rank that said goodbye is not lost";
}

TEST_F(Control, AnOrderReachesEveryRank) {
  auto a = connect(hello(0)), b = connect(hello(1));
  next(Kind::kJoined);
  next(Kind::kJoined);
  server_.tell_all(Order::kStop);
  EXPECT_EQ(a->receive(5000), Order::kStop);
  EXPECT_EQ(b->receive(5000), Order::kStop);
  EXPECT_FALSE(a->receive(10));
}

TEST_F(Control, ARankThatStandsByIsHeardAndHearsTheWord) {
  auto rank = connect(hello(1));
  next(Kind::kJoined);
  ASSERT_TRUE(rank->send(Ready{}));
  EXPECT_EQ(next(Kind::kReady).rank, 1);
  server_.tell_all(Order::kGo);
  EXPECT_EQ(rank->receive(5000), Order::kGo);
}

TEST_F(Control, StrangersAreRefusedAndRanksGoOn) {
  auto rank = connect(hello(0));
  next(Kind::kJoined);
  Hello wrong = hello(1);
  wrong.token = "secreT";
  auto guess = connect(wrong);
  EXPECT_NE(next(Kind::kRefused).why.find("token"), std::string::npos);
  wrong.token = "";
  auto empty = connect(wrong);
  EXPECT_NE(next(Kind::kRefused).why.find("token"), std::string::npos);
  auto twice = connect(hello(0));
  EXPECT_NE(next(Kind::kRefused).why.find("twice"), std::string::npos);
  const Descriptor early = raw(encode_frame(Goodbye{}));
  EXPECT_NE(next(Kind::kRefused).why.find("hello first"), std::string::npos);
  const Descriptor slow = raw("");
  EXPECT_NE(next(Kind::kRefused).why.find("in time"), std::string::npos);
  const Descriptor long_frame = raw("\xff\xff\xff\x7f");
  EXPECT_NE(next(Kind::kRefused).why.find("frame of"), std::string::npos);
  rank->send(ProgressBoard::Entry{.step = 1});
  EXPECT_EQ(next(Kind::kProgress).rank, 0);
}

TEST_F(Control, AFloodOfIdleConnectionsShutsNobodyOutForLong) {
  std::vector<Descriptor> idle;
  idle.reserve(20);
  for (int i = 0; i < 20; ++i) idle.push_back(raw(""));
  EXPECT_EQ(next(Kind::kRefused).why, "too many connections");
  const Deadline deadline = Deadline::after_seconds(1);
  while (!deadline.passed()) server_.poll(20);
  auto rank = connect(hello(3));
  EXPECT_EQ(next(Kind::kJoined).rank, 3);
}

TEST_F(Control, APublicAddressIsRefused) {
  EXPECT_THROW(ControlServer({.host = "0.0.0.0", .token = "t"}), UsageError);
  EXPECT_THROW(ControlServer({.host = "8.8.8.8", .token = "t"}), UsageError);
  EXPECT_THROW(ControlServer({.host = "localhost", .token = "t"}), UsageError);
}

TEST(ControlFrame, ComesBackFromItsBytesHoweverTheyAreCut) {
  const std::vector<ControlFrame> frames = {
      hello(3),  ProgressBoard::Entry{.step = 1 << 20}, Goodbye{.status = 3}, Order::kStop, Ready{},
      Order::kGo};
  std::string bytes;
  for (const ControlFrame& frame : frames) bytes += encode_frame(frame);
  std::string received;
  size_t taken = 0;
  for (const char byte : bytes) {
    received += byte;
    if (const auto frame = take_frame(received)) {
      EXPECT_EQ(frame->index(), frames[taken].index());
      ++taken;
    }
  }
  EXPECT_EQ(taken, frames.size());
  EXPECT_TRUE(received.empty());
}

TEST(ControlFrame, FlippedAndRandomBytesAreRefusedOrAFrame) {
  std::minstd_rand random(7);
  for (int i = 0; i < 20000; ++i) {
    std::string bytes = encode_frame(i % 2 == 0 ? ControlFrame(hello(i % 4))
                                                : ControlFrame(ProgressBoard::Entry{}));
    for (int k = 0; k < 3; ++k) bytes[random() % bytes.size()] = static_cast<char>(random() % 256);
    try {
      take_frame(bytes);
    } catch (const FormatError&) {
    }
  }
  Hello wrong = hello(4);
  std::string bytes = encode_frame(wrong);
  EXPECT_THROW(take_frame(bytes), FormatError) << "rank 4 of 4";
}

}  // namespace
}  // namespace kente
