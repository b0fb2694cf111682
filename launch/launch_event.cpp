#include "launch/launch_event.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "comm/control.h"
#include "csrc/base/clock.h"
#include "launch/rank_output.h"

namespace kente {

void tell(const std::string& run_directory, const LaunchEvent& event) {
  nlohmann::json line = {{"time_ms", wall_clock_ms()},
                         {"event", event.kind},
                         {"step", event.step},
                         {"detail", event.detail},
                         {"incarnation", event.incarnation},
                         {"supervisor", ::getpid()}};
  if (event.rank >= 0) line["rank"] = event.rank;
  if (event.seconds) line["seconds"] = *event.seconds;
  // One write, so that lines of rank 0 and of this process never mix.
  const std::string text = line.dump() + "\n";
  const Descriptor file(::open((run_directory + "/events.jsonl").c_str(),
                               O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644));
  if (!file || ::write(file.get(), text.data(), text.size()) < 0)
    std::fprintf(stderr, "kente launch: events.jsonl: %s\n", std::strerror(errno));
  RankOutput::note("kente launch: " + event.kind + ": " + event.detail);
}

}  // namespace kente
