#include "launch/hosts.h"

#include <fcntl.h>
#include <signal.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

#include "comm/control.h"
#include "csrc/base/errors.h"
#include "launch/child_processes.h"

namespace kente {
namespace {

constexpr int kMostSlots = 1 << 16;
constexpr size_t kMostHosts = 1 << 16;
constexpr size_t kMostFailures = 3;
constexpr double kFailuresWithin = 3600;
constexpr double kMostPause = 3600;

[[noreturn]] void refuse(const std::string& file, int line, const std::string& what) {
  throw UsageError(file + ":" + std::to_string(line) + ": " + what);
}

/// For a message of one line: foreign bytes steer no terminal.
std::string shown(const std::string& word) {
  std::string text = word.substr(0, 40);
  for (char& letter : text)
    if (letter < ' ' || letter > '~') letter = '?';
  return text;
}

/// Whether a word of a line is "key=N", and N.
std::optional<int> number_of(const std::string& word, const std::string& key) {
  if (!word.starts_with(key + "=")) return std::nullopt;
  const char* begin = word.data() + key.size() + 1;
  const char* end = word.data() + word.size();
  int value = 0;
  const auto [at, error] = std::from_chars(begin, end, value);
  return error == std::errc() && at == end && value >= 1 && value <= kMostSlots ? value : 0;
}

Host parse_line(std::istringstream& words, std::string name, const std::string& file, int line) {
  constexpr const char* kNameLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
  if (name.size() > 253 || name.front() == '-' ||
      name.find_first_not_of(kNameLetters) != std::string::npos)
    refuse(file, line, "\"" + shown(name) + "\" is no host's name; write NAME slots=N");
  Host host{.name = std::move(name)};
  for (std::string word; words >> word;) {
    const std::optional<int> slots = number_of(word, "slots"), most = number_of(word, "max_slots");
    if (!slots && !most)
      refuse(file, line, "\"" + shown(word) + "\": only slots=N and max_slots=N are known");
    if (slots.value_or(1) == 0 || most.value_or(1) == 0)
      refuse(file, line, shown(word) + ": a number from 1 to " + std::to_string(kMostSlots));
    if (slots) host.slots = *slots;
  }
  return host;
}

}  // namespace

std::vector<Host> parse_hostfile(const std::string& text, const std::string& file) {
  std::vector<Host> hosts;
  std::istringstream lines(text);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream words(line.substr(0, line.find('#')));
    std::string name;
    if (!(words >> name)) continue;
    Host host = parse_line(words, name, file, number);
    for (const Host& other : hosts)
      if (other.name == host.name)
        refuse(file, number, name + " stands here twice; once is enough");
    hosts.push_back(std::move(host));
    if (hosts.size() > kMostHosts) refuse(file, number, "too many hosts");
  }
  if (hosts.empty()) refuse(file, 1, "no host in it; write NAME slots=N, a line each");
  return hosts;
}

std::vector<Host> load_hostfile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return parse_hostfile(text.str(), path);
}

HostPool::HostPool(std::vector<Host> hosts, int most_ranks, double first_pause)
    : most_ranks_(most_ranks), first_pause_(first_pause) {
  for (Host& host : hosts) members_.push_back({.host = std::move(host)});
}

std::vector<Host> HostPool::used() const {
  std::vector<Host> used;
  int left = most_ranks_ > 0 ? most_ranks_ : INT32_MAX;
  for (const Member& member : members_) {
    if (member.out || left == 0) continue;
    used.push_back({.name = member.host.name, .slots = std::min(member.host.slots, left)});
    left -= used.back().slots;
  }
  return used;
}

int HostPool::ranks() const {
  if (empty()) return most_ranks_;
  int ranks = 0;
  for (const Host& host : used()) ranks += host.slots;
  return ranks;
}

std::vector<std::string> HostPool::left_out() const {
  std::vector<std::string> names;
  for (const Member& member : members_)
    if (member.out) names.push_back(member.host.name);
  return names;
}

std::string HostPool::host_of(int rank) const {
  for (const Host& host : used()) {
    if (rank < host.slots) return host.name;
    rank -= host.slots;
  }
  return "";
}

HostPool::Member& HostPool::member(const std::string& name) {
  const auto found = std::find_if(members_.begin(), members_.end(),
                                  [&](const Member& m) { return m.host.name == name; });
  KENTE_CHECK(found != members_.end(), name + ": no host of this run");
  return *found;
}

bool HostPool::leave_out(const std::string& name, double now) {
  if (used().size() <= 1) return false;
  member(name).out = true;
  put_off(name, now);
  return true;
}

bool HostPool::failed(int rank, double now) {
  const std::string name = rank < 0 ? "" : host_of(rank);
  if (name.empty()) return false;
  std::deque<double>& failures = member(name).failures;
  failures.push_back(now);
  while (failures.front() < now - kFailuresWithin) failures.pop_front();
  if (failures.size() < kMostFailures || !leave_out(name, now)) return false;
  failures.clear();
  return true;
}

std::vector<std::string> HostPool::due(double now) const {
  std::vector<std::string> names;
  for (const Member& member : members_)
    if (member.out && member.ask_at <= now) names.push_back(member.host.name);
  return names;
}

void HostPool::put_off(const std::string& name, double now) {
  Member& late = member(name);
  late.pause = late.pause == 0 ? first_pause_ : std::min(kMostPause, 2 * late.pause);
  late.ask_at = now + late.pause;
}

/// The pause stays: a host that comes and goes costs less and less.
void HostPool::take_back(const std::string& name) { member(name).out = false; }

HostProbe::HostProbe(const std::vector<std::string>& command, const std::vector<std::string>& hosts,
                     double limit, double now)
    : until_(now + limit) {
  const Descriptor nowhere(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const std::string& host : hosts) {
    std::vector<std::string> words = command;
    words.insert(words.end(), {"--host", host + ":1", "-n", "1", "true"});
    asked_[start_program(words, {}, nowhere.get())] = host;
  }
}

HostProbe::~HostProbe() {
  for (const auto& [pid, host] : asked_) ::kill(-pid, SIGKILL);
}

void HostProbe::ended(pid_t pid, int status) {
  const auto found = asked_.find(pid);
  if (found == asked_.end()) return;
  (status == 0 ? answered_ : silent_).push_back(found->second);
  asked_.erase(found);
}

bool HostProbe::done(double now) {
  if (now >= until_) {
    for (const auto& [pid, host] : asked_) {
      ::kill(-pid, SIGKILL);
      silent_.push_back(host);
    }
    asked_.clear();
  }
  return asked_.empty();
}

}  // namespace kente
