#include "launch/front_end.h"

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <numeric>
#include <span>
#include <string_view>

#include "csrc/base/errors.h"

namespace kente {
namespace {

struct Command {
  std::string_view name;  // one word or two
  Invocation::Kind kind;
  std::string_view target;
  std::string_view first;  // the target's own first argument; empty when it has none
  std::string_view help;
};

constexpr Command kCommands[] = {
    {"data prepare", Invocation::Kind::kTool, "data_prepare.py", "",
     "turn text, HTML and JSONL into token files"},
    {"data ledger", Invocation::Kind::kProgram, "kente-ledger", "",
     "which samples each step of a run used, and whether each was used once"},
    {"plan", Invocation::Kind::kProgram, "kente-plan", "",
     "choose who does what: recipe + cluster profile -> plan"},
    {"bench", Invocation::Kind::kProgram, "kente-worker", "bench",
     "measure devices and links for a recipe; under mpirun, on all its ranks"},
    {"throttle", Invocation::Kind::kProgram, "kente-throttle", "",
     "run a command at a share of a core, as on a slower machine"},
    {"train", Invocation::Kind::kProgram, "kente-worker", "train",
     "train a recipe; under mpirun, on all its ranks"},
    {"launch", Invocation::Kind::kProgram, "kente-launch", "",
     "keep a run alive: train under mpirun, started again when a rank dies or hangs"},
    {"status", Invocation::Kind::kProgram, "kente-status", "status",
     "how far a run is, and whether kente launch looks after it"},
    {"logs", Invocation::Kind::kProgram, "kente-status", "logs",
     "what the ranks of a run wrote, in the order of their times"},
    {"report", Invocation::Kind::kProgram, "kente-report", "",
     "turn a run directory into report.html and text"},
    {"metrics", Invocation::Kind::kTool, "metrics.py", "",
     "what a run says of itself, for Prometheus and TensorBoard"},
    {"sample", Invocation::Kind::kTool, "sample.py", "", "let a trained model write text"},
    {"export", Invocation::Kind::kTool, "export.py", "",
     "write a checkpoint as a folder that transformers loads"},
    {"ckpt", Invocation::Kind::kProgram, "kente-ckpt", "",
     "the checkpoints of a run: ls, verify, diff, reshard, rm"},
};

// Edits (insert, remove, replace one letter) that turn a into b.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

std::string_view nearest_command(std::string_view typed) {
  const auto distance = [&](const Command& c) {
    // A first word of a command of two words is as near as the whole.
    return std::min(edit_distance(typed, c.name),
                    edit_distance(typed, c.name.substr(0, c.name.find(' '))));
  };
  return std::min_element(
             std::begin(kCommands), std::end(kCommands),
             [&](const Command& a, const Command& b) { return distance(a) < distance(b); })
      ->name;
}

// How many of words spell the command's name; 0 when they do not.
size_t words_matched(const Command& command, std::span<const std::string> words) {
  const size_t space = command.name.find(' ');
  if (words.empty() || words[0] != command.name.substr(0, space)) return 0;
  if (space == std::string_view::npos) return 1;
  return words.size() > 1 && words[1] == command.name.substr(space + 1) ? 2 : 0;
}

[[noreturn]] void refuse(std::span<const std::string> words) {
  std::string typed = words[0];
  const bool first_is_known =
      std::any_of(std::begin(kCommands), std::end(kCommands), [&](const Command& c) {
        return c.name.starts_with(typed) && c.name.substr(typed.size()).starts_with(' ');
      });
  if (first_is_known && words.size() > 1) typed += " " + words[1];
  throw UsageError("'" + typed + "' is not a command; the nearest is '" +
                   std::string(nearest_command(typed)) + "', kente --help lists all");
}

bool is_project(const std::filesystem::path& directory) {
  std::error_code ignored;
  return std::filesystem::exists(directory / "launch" / "setup", ignored) &&
         std::filesystem::exists(directory / ".venv" / "bin" / "python", ignored);
}

}  // namespace

std::string help_text() {
  std::string text =
      "usage: kente COMMAND [ARGUMENT...]\n"
      "       kente COMMAND --help\n\n";
  for (const Command& c : kCommands) {
    std::string name(c.name);
    name.resize(14, ' ');
    text += "  " + name + std::string(c.help) + "\n";
  }
  text +=
      "\n"
      "Over several ranks: mpirun -n 4 kente train --recipe recipes/quickstart.textproto\n"
      "Exit status: 0 done, 1 a bug, 2 change something, 3 a peer or device failed, 4 storage "
      "failed, 5 stopped.\n";
  return text;
}

Invocation find_command(const std::vector<std::string>& words) {
  if (words.empty()) throw UsageError("which command? kente --help lists them");
  std::span<const std::string> rest(words);
  const bool help = words[0] == "help" && words.size() > 1;
  if (help) rest = rest.subspan(1);
  Invocation found;
  if (rest[0] == "--help" || rest[0] == "-h" || rest[0] == "help") {
    found.text = help_text();
    return found;
  }
  if (rest[0] == "--version") {
    found.text = "kente " KENTE_VERSION "\n";
    return found;
  }
  for (const Command& c : kCommands) {
    const size_t matched = words_matched(c, rest);
    if (matched == 0) continue;
    found.kind = c.kind;
    found.target = c.target;
    if (!c.first.empty()) found.arguments.emplace_back(c.first);
    found.arguments.insert(found.arguments.end(),
                           rest.begin() + static_cast<std::ptrdiff_t>(matched), rest.end());
    if (help) found.arguments.emplace_back("--help");
    return found;
  }
  refuse(rest);
}

std::string find_project(const std::string& baked_in, const std::string& binary_dir) {
  if (is_project(baked_in)) return baked_in;
  for (std::filesystem::path at = binary_dir; at.has_relative_path(); at = at.parent_path()) {
    if (is_project(at)) return at.string();
  }
  throw UsageError("no launch/setup and .venv in " + baked_in + " or above " + binary_dir +
                   ": run launch/setup in the project's directory");
}

}  // namespace kente
