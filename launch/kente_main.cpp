/// The one command users type: finds the program or tool for it and becomes that.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "csrc/base/errors.h"
#include "launch/front_end.h"
#include "launch/program.h"

namespace kente {
namespace {

// Replaces this process. Under mpirun it keeps its rank: the environment and the descriptors stay.
[[noreturn]] void become(const std::string& program, std::vector<std::string> words) {
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(program.c_str(), argv.data());
  throw UsageError("cannot run " + program + ": " + std::strerror(errno) +
                   "; build it with: cmake --build --preset cpu");
}

int run(int argc, char** argv) {
  const Invocation found = find_command({argv + 1, argv + argc});
  if (found.kind == Invocation::Kind::kPrint) {
    std::fputs(found.text.c_str(), stdout);
    return std::fflush(stdout) == 0 ? 0 : static_cast<int>(ExitStatus::kStorage);
  }
  const std::string beside = std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
  std::vector<std::string> words = found.arguments;
  if (found.kind == Invocation::Kind::kProgram) {
    words.insert(words.begin(), found.target);
    become(beside + "/" + found.target, words);
  }
  const std::string project = find_project(KENTE_PROJECT_DIR, beside);
  const std::string python = project + "/.venv/bin/python";
  // Tools that need a tensor run kente-worker; here is where it lies.
  ::setenv("KENTE_BIN_DIR", beside.c_str(), 1);
  words.insert(words.begin(), {python, project + "/launch/" + found.target});
  become(python, words);
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) { return kente::program_main("kente", kente::run, argc, argv); }
