#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <sstream>

#include "csrc/base/clock.h"
#include "tests/support/program_run.h"

namespace kente {
namespace {

/// kente launch over two nodes of this machine, two ranks each: network namespaces with directories
/// and shared memory of their own, by launch/nodes.
class Nodes : public ProgramRun {
 protected:
  Nodes() { ::setenv("KENTE_SHM_DIRECTORY", shm_.c_str(), 1); }
  ~Nodes() override { ::unsetenv("KENTE_SHM_DIRECTORY"); }
  /// What the supervisor noted; it runs on neither node.
  std::string events() const { return read("run/events.jsonl"); }
  bool says(Process& program, const std::string& text) {
    return until(program, [&] { return events().find(text) != std::string::npos; });
  }
  /// Rank 0 is on node 0, whose directory is DIR.node-0.
  int64_t newest_step() {
    const auto steps = losses("run.node-0");
    return steps.empty() ? 0 : steps.rbegin()->first;
  }
  bool trains_on(Process& program, int64_t steps) {
    const int64_t until_step = newest_step() + steps;
    return until(program, [&] { return newest_step() >= until_step; });
  }
  void set_link(pid_t nodes, int node, const std::string& to) {
    run("nsenter --net=/run/netns/kente-" + std::to_string(nodes) + "-" + std::to_string(node) +
        " ip link set eth0 " + to);
  }
  /// What a node had, on disk and in memory, is gone. Its ranks may still be at work on it, so it
  /// is taken out of their sight first.
  void lose_storage(int node) {
    for (const std::string& of_all : {directory_ / "run", shm_})
      for (const auto& entry :
           std::filesystem::directory_iterator(of_all + ".node-" + std::to_string(node)))
        std::filesystem::rename(entry.path(), directory_ / ("lost-" + std::to_string(lost_++)));
  }

  const std::string shm_ = directory_ / "shm";
  int lost_ = 0;
};

TEST_F(Nodes, OneThatIsLostWithAllItHadIsDoneWithoutAndComesBack) {
  ASSERT_EQ(::geteuid(), 0u) << "network namespaces need root";
  recipe_.steps = 500;
  write("recipe.textproto", to_text(recipe_));
  const std::string hosts = directory_ / "hosts";
  Process program("exec " KENTE_SOURCE_DIR "/launch/nodes --nodes 2 --slots 2 --private " +
                  directory_ / "run" + " --private " + shm_ + " --hostfile " + hosts + " -- " +
                  kente("launch", "run",
                        "--hostfile " + hosts +
                            " --control-address 10.77.0.250 --silence 1 --host-timeout 5"
                            " --host-retry 1 --plan even --checkpoint-every 0"
                            " --snapshot-copy-every 5"));
  ASSERT_TRUE(until(program, [&] { return newest_step() >= 20; })) << program.wait(1).output;
  set_link(program.pid(), 1, "down");
  lose_storage(1);
  ASSERT_TRUE(says(program, "10.77.0.2: mpirun can start nothing there")) << events();
  ASSERT_TRUE(says(program, "of 2 ranks")) << events();
  ASSERT_TRUE(trains_on(program, 20)) << events();
  set_link(program.pid(), 1, "up");
  ASSERT_TRUE(says(program, "\"event\":\"host is back\"")) << events();
  ASSERT_TRUE(trains_on(program, 20)) << events();
  const CommandResult result = program.wait(kLimit);
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(events().rfind("of 4 ranks"), events().find("of 4 ranks")) << "it took part again";
  const std::string trained = read("run.node-0/events.jsonl");
  EXPECT_NE(trained.find("on 2 ranks, 1 replicas, from the snapshot in memory"), std::string::npos)
      << trained;

  run(train("alone", "--plan even"));
  EXPECT_EQ(losses("run.node-0"), losses("alone")) << "no step was lost with the node";
  EXPECT_EQ(digest("run.node-0"), digest("alone"));
  EXPECT_EQ(digest("alone").size(), 64u);
  EXPECT_EQ(find_processes(directory_ / "run"), std::vector<pid_t>());
}

}  // namespace
}  // namespace kente
