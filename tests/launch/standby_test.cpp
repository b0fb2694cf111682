#include "launch/standby.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>

#include "launch/child_processes.h"
#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

const std::vector<std::string> kCommand = {"sleep", "1000"};
constexpr int kRanks = 2;

/// Jobs whose ranks are connections that the test makes; the clock is the test's.
class StandbyTest : public testing::Test {
 protected:
  StandbyTest() { std::filesystem::create_directories(directory_ / "logs"); }

  Standby::StartJob start() {
    return [this] {
      auto job = std::make_unique<MpirunJob>(MpirunJob::Options{.command = kCommand,
                                                                .run_directory = directory_.path(),
                                                                .control_host = "127.0.0.1",
                                                                .incarnation = ++started_,
                                                                .stands_by = true});
      mpirun_ = job->mpirun();
      address_ = job->server().address();
      token_ = environment_of(mpirun_, "KENTE_CONTROL_TOKEN");
      ranks_.clear();
      return job;
    };
  }
  static std::string environment_of(pid_t pid, const std::string& name) {
    const Deadline deadline = Deadline::after_seconds(5);
    // Until the child has become the program its environment is ours.
    while (!deadline.passed()) {
      std::ifstream file("/proc/" + std::to_string(pid) + "/environ");
      for (std::string entry; std::getline(file, entry, '\0');)
        if (entry.starts_with(name + "=")) return entry.substr(name.size() + 1);
    }
    ADD_FAILURE() << "process " << pid << " has no " << name;
    return {};
  }
  void come_and_be_ready(int ranks) {
    for (int rank = 0; rank < ranks; ++rank) {
      ranks_.push_back(std::make_unique<ControlClient>(
          address_, Hello{.token = token_, .rank = rank, .size = kRanks, .pid = 1, .host = "here"},
          Deadline::after_seconds(5)));
      EXPECT_TRUE(ranks_.back()->send(Ready{}));
    }
  }
  /// Tends at the time now until is_true or 5 s of real time are over.
  template <class Condition>
  bool tend_until(double now, const Condition& is_true) {
    const Deadline deadline = Deadline::after_seconds(5);
    while (!deadline.passed()) {
      told_ += standby_.tend(start(), kRanks, now);
      if (is_true()) return true;
    }
    return false;
  }
  bool is_left(const std::string& token) const {
    return !processes_with("KENTE_CONTROL_TOKEN=" + token).empty();
  }

  TemporaryDirectory directory_;
  int started_ = 0, told_ = 0;
  pid_t mpirun_ = -1;
  std::string address_, token_;
  std::vector<std::unique_ptr<ControlClient>> ranks_;
  Standby standby_;  // after what its jobs use
};

TEST_F(StandbyTest, HandsOverASetThatIsReadyAndSaysSoOnce) {
  ASSERT_TRUE(tend_until(0, [&] { return started_ == 1; }));
  come_and_be_ready(kRanks);
  ASSERT_TRUE(tend_until(1, [&] { return told_ > 0; }));
  for (int again = 0; again < 100; ++again) EXPECT_FALSE(standby_.tend(start(), kRanks, 2));
  EXPECT_EQ(started_, 1);
  const std::unique_ptr<MpirunJob> job = standby_.take(kCommand, kRanks);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->options().incarnation, 1);
  EXPECT_EQ(job->hellos.size(), 2u);
  const int own = ::getpriority(PRIO_PROCESS, 0);
  EXPECT_EQ(::getpriority(PRIO_PROCESS, static_cast<id_t>(mpirun_)),
            may_raise_priority() ? 19 : own)
      << "what it loads must not slow the ranks that train";
  job->go();
  EXPECT_EQ(::getpriority(PRIO_PROCESS, static_cast<id_t>(mpirun_)), own);
  for (const auto& rank : ranks_) EXPECT_EQ(rank->receive(5000), Order::kGo);
  ASSERT_TRUE(tend_until(3, [&] { return started_ == 2; })) << "the next set";
}

TEST_F(StandbyTest, SetThatLostARankIsEndedAndAnotherComesAWhileLater) {
  ASSERT_TRUE(tend_until(0, [&] { return started_ == 1; }));
  const std::string first = token_;
  come_and_be_ready(kRanks);
  ASSERT_TRUE(tend_until(1, [&] { return told_ == 1; }));
  ranks_[1].reset();
  ASSERT_TRUE(tend_until(10, [&] { return !is_left(first); })) << "what is left of it holds memory";
  EXPECT_FALSE(standby_.take(kCommand, kRanks));
  EXPECT_FALSE(standby_.tend(start(), kRanks, 39));
  EXPECT_EQ(started_, 1) << "not again at once: its host may be ill";
  ASSERT_TRUE(tend_until(41, [&] { return started_ == 2; }));
  come_and_be_ready(kRanks);
  ASSERT_TRUE(tend_until(42, [&] { return told_ == 2; }));
  const std::unique_ptr<MpirunJob> job = standby_.take(kCommand, kRanks);
  ASSERT_TRUE(job);
  EXPECT_EQ(job->options().incarnation, 2);
}

TEST_F(StandbyTest, SetWhoseMpirunEndedIsReplacedToo) {
  ASSERT_TRUE(tend_until(0, [&] { return started_ == 1; }));
  come_and_be_ready(kRanks);
  ASSERT_TRUE(tend_until(1, [&] { return told_ == 1; }));
  standby_.ended(mpirun_ + 1);
  EXPECT_FALSE(standby_.tend(start(), kRanks, 100));
  EXPECT_TRUE(is_left(token_)) << "another process ended";
  standby_.ended(mpirun_);
  EXPECT_FALSE(standby_.tend(start(), kRanks, 100));
  EXPECT_FALSE(is_left(token_));
  ASSERT_TRUE(tend_until(131, [&] { return started_ == 2; }));
  EXPECT_FALSE(standby_.take(kCommand, kRanks)) << "those that were ready are gone";
}

TEST_F(StandbyTest, HandsOverNothingThatIsNotReadyOrWasStartedOtherwise) {
  ASSERT_TRUE(tend_until(0, [&] { return started_ == 1; }));
  come_and_be_ready(kRanks - 1);
  standby_.tend(start(), kRanks, 1);
  EXPECT_FALSE(standby_.take(kCommand, kRanks)) << "one is missing";
  EXPECT_FALSE(is_left(token_));
  ASSERT_TRUE(tend_until(2, [&] { return started_ == 2; }));
  come_and_be_ready(kRanks);
  ASSERT_TRUE(tend_until(3, [&] { return told_ == 1; }));
  EXPECT_FALSE(standby_.take({"sleep", "999"}, kRanks)) << "for other hosts";
  EXPECT_FALSE(is_left(token_));
}

}  // namespace
}  // namespace kente
