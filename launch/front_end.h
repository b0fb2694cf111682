#pragma once

#include <string>
#include <vector>

namespace kente {

/// What the words after `kente` ask for.
struct Invocation {
  enum class Kind {
    kPrint,    // text goes to stdout, nothing else is done
    kProgram,  // a program of ours, beside this one
    kTool,     // a Python tool in launch/, run by the private environment's Python
  };
  Kind kind = Kind::kPrint;
  std::string text;
  std::string target;                  // "kente-worker", "data_prepare.py"
  std::vector<std::string> arguments;  // for the target, without its own name
};

/// Finds the command that words name; words are those after `kente`.
/// Throws UsageError with the nearest command when there is none of that name.
Invocation find_command(const std::vector<std::string>& words);

/// The commands, one line each, as `kente --help` prints them.
std::string help_text();

/// The project's directory: baked_in if it still holds launch/ and the private Python, else the
/// nearest directory above binary_dir that does. Throws UsageError when there is none.
std::string find_project(const std::string& baked_in, const std::string& binary_dir);

}  // namespace kente
