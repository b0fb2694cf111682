#include "tests/layering_rules.h"

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <set>

namespace kente {
namespace {

using Names = std::vector<std::string_view>;

const Names kPureFolders = {"csrc/plan", "csrc/data", "csrc/ckpt", "csrc/outer", "csrc/report"};
const Names kComposed = {"csrc/base",  "csrc/config", "csrc/plan",   "csrc/data", "csrc/ckpt",
                         "csrc/outer", "csrc/report", "csrc/device", "csrc/nn",   "comm"};
const Names kLaunched = {"csrc/base",  "csrc/config",  "csrc/plan",   "csrc/data",
                         "csrc/ckpt",  "csrc/outer",   "csrc/report", "csrc/device",
                         "csrc/train", "csrc/measure", "csrc/joint",  "comm"};
const Names kFolders = {"csrc/base",  "csrc/config", "csrc/plan",    "csrc/data", "csrc/ckpt",
                        "csrc/outer", "csrc/report", "csrc/device",  "csrc/nn",   "csrc/train",
                        "csrc/joint", "comm",        "csrc/measure", "cuda",      "launch",
                        "tests",      "benchmarks"};

bool contains(const Names& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string_view folder_of(std::string_view path) {
  for (const std::string_view folder : kFolders) {
    if (path.starts_with(folder) && path.substr(folder.size()).starts_with('/')) return folder;
  }
  return {};
}

bool is_header(std::string_view path) { return path.ends_with(".h") || path.ends_with(".cuh"); }
bool is_cuda_op(std::string_view path) {
  return path.starts_with("csrc/nn/ops/") && path.ends_with("_cuda.cpp");
}
// The front end starts in a millisecond because it is made of nothing but base.
bool is_front_end(std::string_view path) {
  return path.starts_with("launch/front_end") || path == "launch/kente_main.cpp";
}
bool is_main(std::string_view path) {
  return path.starts_with("launch/") && path.ends_with("_main.cpp");
}

bool may_include_ours(std::string_view path, std::string_view target) {
  const std::string_view from = folder_of(path);
  const std::string_view to = folder_of(target);
  if (from == "tests") return true;
  if (to == "tests") return from == "benchmarks" && target.starts_with("tests/support/");
  if (from == "benchmarks" || from == to) return true;
  if (from == "csrc/config" || from == "csrc/device") return to == "csrc/base";
  if (contains(kPureFolders, from)) return to == "csrc/base" || to == "csrc/config";
  if (from == "comm") return to == "csrc/base" || to == "csrc/device";
  if (from == "csrc/nn") {
    return to == "csrc/base" || to == "csrc/config" || to == "csrc/device" ||
           (to == "cuda" && is_cuda_op(path));
  }
  // What is measured is what a step is made of: its gradient sums, its optimizer.
  if (from == "csrc/measure" && to == "csrc/train") return true;
  if (from == "csrc/train" || from == "csrc/measure" || from == "csrc/joint")
    return contains(kComposed, to);
  if (from == "launch") return is_front_end(path) ? to == "csrc/base" : contains(kLaunched, to);
  return false;  // csrc/base and cuda include only themselves
}

bool starts_with_any(std::string_view text, std::initializer_list<std::string_view> prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(),
                     [&](std::string_view prefix) { return text.starts_with(prefix); });
}

bool is_torch(std::string_view target) {
  return starts_with_any(target, {"ATen/", "c10/", "torch/"});
}

bool may_include_torch(std::string_view path) {
  const std::string_view from = folder_of(path);
  return contains({"csrc/nn", "csrc/train", "csrc/measure", "csrc/joint", "tests", "benchmarks"},
                  from) ||
         path == "launch/worker_main.cpp";
}

// Why path may not include a library's header; empty when it may.
std::optional<std::string> foreign_fault(std::string_view path, std::string_view target) {
  const std::string_view from = folder_of(path);
  const bool source = !is_header(path);
  const bool testing = from == "tests" || from == "benchmarks";
  const auto only = [](bool allowed, const char* where) {
    return allowed ? std::nullopt : std::optional<std::string>(where);
  };
  if (target == "torch/torch.h" || target == "ATen/ATen.h" ||
      starts_with_any(target, {"torch/nn", "torch/optim"}))
    return "is never included: it costs seconds a file; take the narrow header";
  if (is_torch(target) && !may_include_torch(path)) return "torch is not for this folder";
  if (target.starts_with("torch/")) return only(source, "is too heavy for a header");
  if (is_torch(target)) return std::nullopt;
  if (starts_with_any(target, {"mpi.h", "nccl.h", "grpc"}))
    return only((from == "comm" || testing) && source, "belongs into a .cpp of comm/");
  if (target.starts_with("google/protobuf") || target.ends_with(".pb.h"))
    return only((from == "comm" || from == "csrc/config" || testing) && source,
                "belongs into a .cpp of csrc/config or comm/");
  if (starts_with_any(target, {"cuda", "cublas", "nvml", "cooperative_groups", "cub/"}))
    return only(from == "cuda" || from == "csrc/device" || is_cuda_op(path) || testing,
                "belongs into cuda/, csrc/device or an op's _cuda.cpp");
  if (starts_with_any(target, {"openssl/", "xxhash.h"}))
    return only((path == "csrc/base/hash.cpp" || from == "comm" || testing) && source,
                "belongs into csrc/base/hash.cpp or a .cpp of comm/");
  if (starts_with_any(target, {"fmt/", "spdlog/"}))
    return only(from != "cuda" && source, "belongs into a .cpp");
  if (starts_with_any(target, {"nlohmann/", "simdjson", "zstd", "ctemplate/"}))
    return only((from != "csrc/base" || path.starts_with("csrc/base/strict_json")) &&
                    from != "cuda" && !is_front_end(path),
                "is not for base but strict_json, cuda/ or the front end");
  if (target.starts_with("CLI/")) return only(from == "launch" || testing, "belongs into launch/");
  if (starts_with_any(target, {"gtest/", "gmock/"})) return only(testing, "belongs into tests/");
  if (target.starts_with("benchmark/")) return only(testing, "belongs into benchmarks/");
  return std::nullopt;
}

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// True when word stands in line as a whole; with call, followed by '(' and not a member's name.
bool uses(std::string_view line, std::string_view word, bool call) {
  for (size_t at = line.find(word); at != std::string_view::npos; at = line.find(word, at + 1)) {
    const std::string_view before = line.substr(0, at);
    std::string_view after = line.substr(at + word.size());
    if ((!before.empty() && is_word(before.back())) || (!after.empty() && is_word(after.front())))
      continue;
    if (!call) return true;
    after.remove_prefix(std::min(after.find_first_not_of(' '), after.size()));
    if (after.starts_with('(') && !before.ends_with('.') && !before.ends_with("->")) return true;
  }
  return false;
}

// A call of C's exit or abort: as a statement, or qualified. A member of that name is somebody
// else's.
bool ends_process(std::string_view line) {
  for (const char* const word : {"exit", "abort", "_Exit", "quick_exit"}) {
    for (const char* const qualified : {"std::", "::"}) {
      const size_t at = line.find(std::string(qualified) + word + "(");
      if (at != std::string_view::npos && (at == 0 || !is_word(line[at - 1]))) return true;
    }
    const size_t first = line.find_first_not_of(' ');
    if (first != std::string_view::npos && line.substr(first).starts_with(std::string(word) + "("))
      return true;
  }
  return false;
}

struct Lines {
  std::vector<std::string_view> all;
  explicit Lines(std::string_view text) {
    while (!text.empty()) {
      const size_t end = std::min(text.find('\n'), text.size());
      all.push_back(text.substr(0, end));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }
};

int64_t columns(std::string_view line) {
  return std::count_if(line.begin(), line.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

class FileCheck {
 public:
  FileCheck(std::string_view path, std::string_view text)
      : path_(path), raw_(text), code_(code_only(text)), raw_lines_(raw_), code_lines_(code_) {}

  std::vector<Violation> run() {
    if (folder_of(path_).empty()) add(0, "lies in no folder of the tree");
    check_size();
    for (size_t i = 0; i < raw_lines_.all.size(); ++i) {
      const int number = static_cast<int>(i) + 1;
      const std::string_view code = i < code_lines_.all.size() ? code_lines_.all[i] : "";
      check_include(number, raw_lines_.all[i], code);
      check_names(number, code);
      check_raw(number, raw_lines_.all[i]);
    }
    check_catch_all();
    check_function_lengths();
    return std::move(found_);
  }

 private:
  void add(int line, std::string rule) {
    found_.push_back({.path = std::string(path_), .line = line, .rule = std::move(rule)});
  }

  void check_size() {
    const size_t limit = is_header(path_) ? 200 : 400;
    const size_t lines = raw_lines_.all.size();
    if (lines > limit) add(0, std::to_string(lines) + " lines, at most " + std::to_string(limit));
    if (is_header(path_) && code_.find("#pragma once") == std::string::npos)
      add(0, "a header begins with #pragma once");
  }

  void check_include(int number, std::string_view line, std::string_view code) {
    if (!code.starts_with("#include")) return;
    const size_t open = line.find_first_of("<\"");
    const size_t close =
        open == std::string_view::npos ? open : line.find_first_of(">\"", open + 1);
    if (close == std::string_view::npos) return add(number, "an include names its file");
    const std::string_view target = line.substr(open + 1, close - open - 1);
    const bool ours = !folder_of(target).empty();
    const std::string name(target);
    if (line[open] == '"' && !ours) return add(number, name + ": write the path from the root");
    if (line[open] == '<' && ours) return add(number, name + ": our own files stand in quotes");
    if (ours && !may_include_ours(path_, target))
      add(number, std::string(folder_of(path_)) + " may not include " + name);
    // Generated headers lie in our folders, but only some files may see them.
    const bool foreign = !ours || target.ends_with(".pb.h");
    if (const auto fault = foreign_fault(path_, target); fault && foreign)
      add(number, name + " " + *fault);
  }

  void check_names(int number, std::string_view code) {
    const std::string_view from = folder_of(path_);
    const bool testing = from == "tests" || from == "benchmarks";
    if (uses(code, "cudaDeviceSynchronize", false) && !testing)
      add(number, "cudaDeviceSynchronize stops every stream; wait for the event you need");
    if (uses(code, "getenv", false) && from != "launch" && !testing)
      add(number, "getenv only in launch/: pass the value as an argument");
    if (ends_process(code) && !testing && !is_main(path_) && !path_.starts_with("csrc/base/errors"))
      add(number, "throw; only main and InternalError end the process");
    for (const char* const word : {"rand", "srand"})
      if (uses(code, word, true)) add(number, "no rand(): csrc/base/rng.h is counter-based");
    for (const char* const word : {"sleep_for", "sleep_until", "usleep", "nanosleep", "sleep"})
      // MPI has no blocking wait with a deadline: one file naps between polls.
      if (uses(code, word, true) && path_ != "csrc/base/backoff.cpp")
        add(number, "no sleeping to wait: wait for the event itself");
    if (is_header(path_) && uses(code, "using namespace", false))
      add(number, "no using-directive in a header");
    // What the compiler says about the machine it compiles for (__x86_64__) is no feature of ours.
    const bool of_compiler = uses(code, "__x86_64__", false) || uses(code, "__AVX512F__", false) ||
                             code.find("__SANITIZE_") != std::string_view::npos;
    if (code.starts_with("#if") && from != "cuda" && !of_compiler)
      add(number, "no #if: an optional part is a file that CMake chooses");
  }

  void check_raw(int number, std::string_view line) {
    if (columns(line) > 100) add(number, std::to_string(columns(line)) + " columns, at most 100");
    // Written in two parts, or this line would be found.
    for (const char* const word : {"TO"
                                   "DO",
                                   "FIX"
                                   "ME",
                                   "XX"
                                   "X"})
      if (uses(line, word, false)) add(number, std::string(word) + ": do it, or open an issue");
    for (const char* const place : {"/ho"
                                    "me/",
                                    "/ro"
                                    "ot/",
                                    "/wo"
                                    "rk/"})
      if (line.find(place) != std::string_view::npos)
        add(number, "names a directory of one machine");
    if (line.ends_with(' ') || line.find('\t') != std::string_view::npos)
      add(number, "a tab or a blank at the end of the line");
  }

  // A catch-all must rethrow or keep the exception; anything else hides a failure.
  void check_catch_all() {
    for (size_t at = code_.find("catch (...)"); at != std::string::npos;
         at = code_.find("catch (...)", at + 1)) {
      size_t end = code_.find('{', at);
      for (int depth = 0; end < code_.size(); ++end) {
        if (code_[end] == '{') ++depth;
        if (code_[end] == '}' && --depth == 0) break;
      }
      const std::string_view block = std::string_view(code_).substr(at, end - at);
      if (!uses(block, "throw", false) && !uses(block, "current_exception", false))
        add(line_of(at), "catch (...) that neither throws nor keeps the exception hides it");
    }
  }

  int line_of(size_t at) const {
    return 1 + static_cast<int>(std::count(code_.begin(),
                                           code_.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
  }

  static bool opens_scope(std::string_view head) {
    return head.find("namespace") != std::string_view::npos ||
           head.find("extern") != std::string_view::npos ||
           head.find('(') == std::string_view::npos;
  }

  static bool is_directive(std::string_view head) {
    const size_t first = head.find_first_not_of(" \n");
    return first != std::string_view::npos && head[first] == '#';
  }

  // A body is a block with parentheses before it that lies in nothing but namespaces and classes.
  void check_function_lengths() {
    int scopes = 0;
    int depth = 0;  // braces inside a body
    size_t head = 0;
    size_t began = 0;
    for (size_t at = 0; at < code_.size(); ++at) {
      const char c = code_[at];
      if (c == '{' && depth == 0 && opens_scope(std::string_view(code_).substr(head, at - head))) {
        ++scopes;
      } else if (c == '{') {
        if (depth++ == 0) began = at;
      } else if (c == '}' && depth == 0) {
        --scopes;
      } else if (c == '}' && --depth == 0) {
        const int lines = line_of(at) - line_of(began) + 1;
        if (lines > 60)
          add(line_of(began), "a function of " + std::to_string(lines) + " lines, at most 60");
      }
      if (c == ';' || c == '{' || c == '}') head = at + 1;
      // A directive ends with its line and is no part of what follows.
      if (c == '\n' && is_directive(std::string_view(code_).substr(head, at - head))) head = at;
    }
  }

  std::string_view path_;
  std::string_view raw_;
  const std::string code_;
  const Lines raw_lines_;
  const Lines code_lines_;
  std::vector<Violation> found_;
};

// Where the comment or literal that begins at from ends; from if none begins there.
size_t end_of_opaque(std::string_view text, size_t from) {
  const std::string_view rest = text.substr(from);
  const auto until = [&](std::string_view mark, size_t skip) {
    const size_t at = rest.find(mark, skip);
    return at == std::string_view::npos ? text.size() : from + at + mark.size();
  };
  if (rest.starts_with("//")) return std::min(text.find('\n', from), text.size());
  if (rest.starts_with("/*")) return until("*/", 2);
  const bool joined = from > 0 && is_word(text[from - 1]);
  if (rest.starts_with("R\"") && !joined) {
    std::string mark(1, ')');
    mark.append(rest.substr(2, rest.find('(') - 2)).push_back('"');
    return until(mark, 2);
  }
  // An apostrophe after a digit or letter separates digits.
  if (!rest.starts_with('"') && !(rest.starts_with('\'') && !joined)) return from;
  for (size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == '\\') {
      ++i;
    } else if (rest[i] == rest[0] || rest[i] == '\n') {
      return from + i + 1;
    }
  }
  return text.size();
}

}  // namespace

std::string code_only(std::string_view text) {
  std::string code(text);
  for (size_t at = 0; at < text.size();) {
    const size_t end = end_of_opaque(text, at);
    for (size_t i = at; i < end; ++i) {
      if (code[i] != '\n') code[i] = ' ';
    }
    at = std::max(end, at + 1);
  }
  return code;
}

std::vector<Violation> check_top_level(const std::vector<std::string>& names) {
  const std::set<std::string, std::less<>> known = {
      // What is committed,
      "CMakeLists.txt", "CMakePresets.json", "README.md", "LICENSE", ".ci", ".clang-format",
      ".clang-tidy", ".gitignore", "benchmarks", "comm", "csrc", "cuda", "launch", "recipes",
      "tests",
      // and what git ignores.
      ".git", ".venv", ".cache", "bench", "build", "data", "runs"};
  std::vector<Violation> found;
  for (const std::string& name : names) {
    if (!known.contains(name))
      found.push_back({.path = name, .line = 0, .rule = "is not in the root's table of contents"});
  }
  return found;
}

std::vector<Violation> check_file(std::string_view path, std::string_view text) {
  return FileCheck(path, text).run();
}

}  // namespace kente
