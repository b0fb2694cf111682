#include "csrc/base/failpoint.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"

namespace kente {
namespace {

enum class Action { kKill, kStop, kHang, kNoSpace, kInputOutput };
constexpr std::array<std::string_view, 5> kActions = {"kill", "stop", "hang", "enospc", "eio"};

struct Armed {
  size_t number = 0;
  Action action = Action::kKill;
  int64_t hit = 0;
};

/// Made once, before there are threads; read by all.
struct State {
  FailpointSetting setting;
  std::vector<Armed> armed;
  std::array<std::atomic<int64_t>, kFailpoints.size()> hits{};
};
State& state() {
  static State the_state;
  return the_state;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

[[noreturn]] void refuse(std::string_view entry, const std::string& why) {
  throw UsageError("failpoint \"" + std::string(entry) + "\": " + why +
                   "; NAME=ACTION@HIT[:rank=R][:incarnation=I] is known");
}

int64_t number_of(std::string_view text, std::string_view entry) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    refuse(entry, "\"" + std::string(text) + "\" is no number");
  return value;
}

template <size_t N>
size_t place_in(const std::array<std::string_view, N>& names, std::string_view name,
                std::string_view entry) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) refuse(entry, "\"" + std::string(name) + "\" is unknown");
  return static_cast<size_t>(found - names.begin());
}

/// Empty when it is meant for another process.
std::optional<Armed> parse_entry(std::string_view entry, const FailpointSetting& setting) {
  const std::vector<std::string_view> parts = split(entry, ':');
  const size_t equals = parts[0].find('='), at = parts[0].find('@');
  if (equals == std::string_view::npos || at == std::string_view::npos || at < equals)
    refuse(entry, "no action, or no hit");
  Armed armed;
  armed.number = place_in(kFailpoints, parts[0].substr(0, equals), entry);
  armed.action =
      static_cast<Action>(place_in(kActions, parts[0].substr(equals + 1, at - equals - 1), entry));
  armed.hit = number_of(parts[0].substr(at + 1), entry);
  bool ours = true;
  for (size_t i = 1; i < parts.size(); ++i) {
    constexpr std::string_view kRank = "rank=", kIncarnation = "incarnation=";
    if (parts[i].starts_with(kRank)) {
      ours = ours && number_of(parts[i].substr(kRank.size()), entry) == setting.rank;
    } else if (parts[i].starts_with(kIncarnation)) {
      ours = ours && number_of(parts[i].substr(kIncarnation.size()), entry) == setting.incarnation;
    } else {
      refuse(entry, "\"" + std::string(parts[i]) + "\" is unknown");
    }
  }
  if (!ours) return std::nullopt;
  return armed;
}

/// One write, so that lines of several processes never mix; nothing here may reach a failpoint.
void note(std::string_view name, std::string_view action) {
  const FailpointSetting& setting = state().setting;
  if (setting.log.empty()) return;
  const std::string line = std::to_string(wall_clock_ms()) + " " + std::to_string(setting.rank) +
                           " " + std::to_string(setting.incarnation) + " " + std::string(name) +
                           " " + std::string(action) + "\n";
  const int fd = ::open(setting.log.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0 || ::write(fd, line.data(), line.size()) < 0)
    throw InternalError(setting.log + ": " + std::strerror(errno));
  ::close(fd);
}

void act(const Armed& armed) {
  const std::string_view name = kFailpoints.at(armed.number);
  note(name, kActions.at(static_cast<size_t>(armed.action)));
  switch (armed.action) {
    case Action::kKill:
      ::kill(::getpid(), SIGKILL);
      break;
    case Action::kStop:
      ::kill(::getpid(), SIGSTOP);
      break;
    case Action::kHang:
      while (true) ::pause();
    case Action::kNoSpace:
      throw StorageError(std::string(name) + ": " + std::strerror(ENOSPC));
    case Action::kInputOutput:
      throw StorageError(std::string(name) + ": " + std::strerror(EIO));
  }
}

}  // namespace

void arm_failpoints(const FailpointSetting& setting) {
  state().setting = setting;
  state().armed.clear();
  if (setting.failpoints.empty()) return;
  for (const std::string_view entry : split(setting.failpoints, ','))
    if (const std::optional<Armed> armed = parse_entry(entry, setting))
      state().armed.push_back(*armed);
}

void reach_failpoint(size_t number) {
  const int64_t hit = 1 + state().hits.at(number).fetch_add(1, std::memory_order_relaxed);
  if (hit == 1) note(kFailpoints.at(number), "reached");
  for (const Armed& armed : state().armed)
    if (armed.number == number && armed.hit == hit) act(armed);
}

}  // namespace kente
