#include "launch/mpirun_job.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <random>
#include <utility>

#include "launch/child_processes.h"

namespace kente {
namespace {

constexpr double kEndSeconds = 10;  // for SIGKILL to work everywhere

std::string random_token() {
  std::random_device device;
  std::string token;
  for (int i = 0; i < 8; ++i) token += fmt::format("{:08x}", device());
  return token;
}

}  // namespace

MpirunJob::MpirunJob(Options options)
    : options_(std::move(options)),
      token_(random_token()),
      server_({.host = options_.control_host, .token = token_}),
      output_(fmt::format("{}/logs/mpirun-{}.log", options_.run_directory, options_.incarnation)) {
  std::map<std::string, std::string> environment = {
      {"KENTE_CONTROL", server_.address()},
      {"KENTE_CONTROL_TOKEN", token_},
      {"KENTE_INCARNATION", std::to_string(options_.incarnation)}};
  if (options_.stands_by) environment["KENTE_STANDBY"] = "1";
  if (options_.local) scratch_.emplace(options_.run_directory).add_to(environment);
  mpirun_ = start_program(options_.command, environment, output_.write_end());
  output_.close_write_end();
  if (options_.stands_by && options_.local && may_raise_priority())
    set_nice({mpirun_}, kLeastNice);  // before it starts the ranks: they inherit it
}

MpirunJob::~MpirunJob() { end(); }

std::vector<pid_t> MpirunJob::processes() const { return processes_with(mark()); }

void MpirunJob::go() {
  set_nice(processes(), ::getpriority(PRIO_PROCESS, 0));
  server_.tell_all(Order::kGo);
}

std::vector<pid_t> MpirunJob::end() {
  if (std::exchange(ended_, true)) return {};
  std::vector<pid_t> left = end_all_with(mark(), kEndSeconds);
  output_.finish();
  return left;
}

}  // namespace kente
