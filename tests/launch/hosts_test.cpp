#include "launch/hosts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "csrc/base/errors.h"

namespace kente {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(ParseHostfile, ReadsNamesAndSlots) {
  EXPECT_THAT(parse_hostfile(
                  "# ours\n\n a slots=2\nb.example max_slots=4 slots=3 # big\n10.0.0.7\n", "hosts"),
              ElementsAre(Host{"a", 2}, Host{"b.example", 3}, Host{"10.0.0.7", 1}));
}

TEST(ParseHostfile, SaysWhereItIsWrong) {
  const auto error = [](const std::string& text) {
    try {
      parse_hostfile(text, "hosts");
    } catch (const UsageError& refused) {
      return std::string(refused.what());
    }
    return std::string("taken");
  };
  EXPECT_THAT(error("# nothing\n"), HasSubstr("hosts:1: no host"));
  EXPECT_THAT(error("a slots=0\n"), HasSubstr("hosts:1: slots=0: a number from 1"));
  EXPECT_THAT(error("a slots=99999999999\n"), HasSubstr("a number from 1"));
  EXPECT_THAT(error("a\nb cpus=3\n"), HasSubstr("hosts:2: \"cpus=3\""));
  EXPECT_THAT(error("a\na slots=2\n"), HasSubstr("hosts:2: a stands here twice"));
  EXPECT_THAT(error("-x\n"), HasSubstr("is no host's name"));
  EXPECT_THAT(error("a;reboot\n"), HasSubstr("is no host's name"));
  EXPECT_THAT(error(std::string("a\0b\n", 4)), HasSubstr("\"a?b\" is no host's name"));
}

class HostPoolTest : public testing::Test {
 protected:
  HostPool pool_{{{"a", 2}, {"b", 1}, {"c", 3}}, 5};
};

TEST_F(HostPoolTest, DealsRanksOutInOrderUpToTheMost) {
  EXPECT_THAT(pool_.used(), ElementsAre(Host{"a", 2}, Host{"b", 1}, Host{"c", 2}));
  EXPECT_EQ(pool_.ranks(), 5);
  EXPECT_EQ(pool_.host_of(1), "a");
  EXPECT_EQ(pool_.host_of(2), "b");
  EXPECT_EQ(pool_.host_of(4), "c");
  EXPECT_EQ(pool_.host_of(5), "");
  EXPECT_EQ(HostPool({{"a", 2}, {"b", 1}}, 0).ranks(), 3);
  EXPECT_EQ(HostPool({}, 4).ranks(), 4);
  EXPECT_FALSE(HostPool({}, 4).failed(1, 0)) << "nothing is ever left out of one machine";
}

TEST_F(HostPoolTest, AHostThatIsLeftOutMakesRoomAndComesBack) {
  EXPECT_TRUE(pool_.leave_out("a", 100));
  EXPECT_THAT(pool_.used(), ElementsAre(Host{"b", 1}, Host{"c", 3}));
  EXPECT_EQ(pool_.host_of(0), "b");
  EXPECT_THAT(pool_.left_out(), ElementsAre("a"));
  EXPECT_FALSE(pool_.whole());
  pool_.take_back("a");
  EXPECT_EQ(pool_.ranks(), 5);
  EXPECT_TRUE(pool_.whole());
}

TEST_F(HostPoolTest, TheLastOneStays) {
  EXPECT_TRUE(pool_.leave_out("a", 0));
  EXPECT_TRUE(pool_.leave_out("c", 0));
  EXPECT_FALSE(pool_.leave_out("b", 0));
  for (int i = 0; i < 9; ++i) EXPECT_FALSE(pool_.failed(0, i));
  EXPECT_EQ(pool_.ranks(), 1);
}

TEST_F(HostPoolTest, ThreeFailuresInAnHourAreEnoughAndSpreadOutTheyAreNot) {
  for (int hour = 0; hour < 10; ++hour) EXPECT_FALSE(pool_.failed(3, 2000.0 * hour));
  EXPECT_FALSE(pool_.failed(0, 20000));
  EXPECT_FALSE(pool_.failed(2, 20001)) << "another host";
  EXPECT_FALSE(pool_.failed(1, 20002));
  EXPECT_TRUE(pool_.failed(0, 20003));
  EXPECT_THAT(pool_.left_out(), ElementsAre("a"));
  EXPECT_FALSE(pool_.failed(-1, 20004)) << "nobody's fault";
}

TEST_F(HostPoolTest, IsAskedAgainLaterAndLater) {
  pool_.leave_out("a", 1000);
  EXPECT_THAT(pool_.due(1059), IsEmpty());
  EXPECT_THAT(pool_.due(1060), ElementsAre("a"));
  pool_.put_off("a", 1060);
  EXPECT_THAT(pool_.due(1179), IsEmpty());
  EXPECT_THAT(pool_.due(1180), ElementsAre("a"));
  for (int i = 0; i < 20; ++i) pool_.put_off("a", 2000);
  EXPECT_THAT(pool_.due(5599), IsEmpty());
  EXPECT_THAT(pool_.due(5600), ElementsAre("a")) << "an hour at most";
  pool_.take_back("a");
  EXPECT_THAT(pool_.due(1e9), IsEmpty());
}

}  // namespace
}  // namespace kente
