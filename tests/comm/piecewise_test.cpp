#include "comm/piecewise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/base/errors.h"
#include "tests/comm/communicator_cases.h"

namespace kente {
namespace {

/// What a test decides about and learns from requests.
struct Script {
  std::vector<std::string> started;
  std::vector<std::string> finishable;
  bool clean = true;  // give_up succeeds
};

class ScriptedRequest : public Request {
 public:
  ScriptedRequest(Script& script, std::string name) : script_(script), name_(std::move(name)) {}
  void start() override { script_.started.push_back(name_); }
  bool test() override {
    for (const std::string& name : script_.finishable)
      if (name == name_) return true;
    return false;
  }
  bool give_up() override { return script_.clean; }

 private:
  Script& script_;
  const std::string name_;
};

std::vector<std::unique_ptr<Request>> requests(Script& script,
                                               const std::vector<std::string>& names) {
  std::vector<std::unique_ptr<Request>> made;
  made.reserve(names.size());
  for (const std::string& name : names)
    made.push_back(std::make_unique<ScriptedRequest>(script, name));
  return made;
}

TEST(CollectiveQueue, StartsInTheOrderOfTheCallsAndTwoAtATime) {
  Script script;
  CollectiveQueue queue;
  bool lost = false;
  PiecewiseWork a(&queue, "a", requests(script, {"a0", "a1", "a2"}), &lost);
  PiecewiseWork b(&queue, "b", requests(script, {"b0"}), &lost);
  queue.pump();
  EXPECT_THAT(script.started, testing::ElementsAre("a0", "a1"));
  script.finishable = {"a1"};
  EXPECT_FALSE(b.done());  // asking for b helps a along
  EXPECT_THAT(script.started, testing::ElementsAre("a0", "a1", "a2"));
  script.finishable = {"a0", "a1", "b0"};
  EXPECT_TRUE(b.done());
  EXPECT_FALSE(a.done());
  EXPECT_THAT(script.started, testing::ElementsAre("a0", "a1", "a2", "b0"));
  script.finishable.push_back("a2");
  EXPECT_TRUE(a.done());
  EXPECT_TRUE(queue.empty());
}

TEST(PiecewiseWork, MessagesStartAtOnce) {
  Script script;
  bool lost = false;
  PiecewiseWork work(nullptr, "m", requests(script, {"0", "1", "2", "3"}), &lost);
  EXPECT_FALSE(work.done());
  EXPECT_EQ(script.started.size(), 4u);
  script.finishable = script.started;
  EXPECT_TRUE(work.done());
}

TEST(PiecewiseWork, SaysWhenItsBuffersMayBeInUseAfterItsEnd) {
  for (const bool clean : {true, false}) {
    Script script;
    script.clean = clean;
    bool lost = false;
    {
      PiecewiseWork work(nullptr, "rank 0: irecv", requests(script, {"0"}), &lost);
      EXPECT_THROW(work.wait(Deadline::after_seconds(0.01)), PeerError);
    }
    EXPECT_EQ(lost, !clean);
  }
}

}  // namespace
}  // namespace kente
