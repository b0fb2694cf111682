#include "launch/mpirun_command.h"

#include <unistd.h>

#include <thread>

namespace kente {
namespace {

/// Without --plan FILE and --cluster FILE; --plan even is for any number of ranks.
std::vector<std::string> for_any_ranks(const std::vector<std::string>& train_args) {
  std::vector<std::string> kept;
  for (size_t i = 0; i < train_args.size(); ++i) {
    const std::string& word = train_args[i];
    const std::string next = i + 1 < train_args.size() ? train_args[i + 1] : "";
    if (word == "--cluster" || (word == "--plan" && next != "even")) {
      ++i;
    } else if (!word.starts_with("--cluster=") &&
               (!word.starts_with("--plan=") || word == "--plan=even")) {
      kept.push_back(word);
    }
  }
  return kept;
}

}  // namespace

std::vector<std::string> launcher(const MpirunOptions& options) {
  std::vector<std::string> words = {options.mpirun};
  if (::geteuid() == 0) words.emplace_back("--allow-run-as-root");
  return words;
}

std::vector<std::string> mpirun_command(const MpirunOptions& options, const HostPool& hosts,
                                        bool resume, bool stands_by) {
  std::vector<std::string> words = launcher(options);
  const auto add = [&](const std::vector<std::string>& more) {
    words.insert(words.end(), more.begin(), more.end());
  };
  const int ranks = hosts.ranks();
  add({"-n", std::to_string(ranks)});
  if (!hosts.empty()) {
    std::string names;
    for (const Host& host : hosts.used())
      names += (names.empty() ? "" : ",") + host.name + ":" + std::to_string(host.slots);
    add({"--host", names, "--map-by", "slot"});
    for (const char* name : {"KENTE_CONTROL", "KENTE_CONTROL_TOKEN", "KENTE_INCARNATION"})
      add({"-x", name});
    if (stands_by) add({"-x", "KENTE_STANDBY"});
  } else if (ranks > static_cast<int>(std::thread::hardware_concurrency())) {
    add({"--oversubscribe", "--bind-to", "none"});
  }
  add({options.worker, "train"});
  add(hosts.whole() ? options.train_args : for_any_ranks(options.train_args));
  if (resume) add({"--resume"});
  return words;
}

}  // namespace kente
