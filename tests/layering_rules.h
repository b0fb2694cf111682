#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kente {

/// A place in a file of ours that breaks a rule of the house.
struct Violation {
  std::string path;
  int line = 0;  // from 1; 0 for the whole file
  std::string rule;

  std::string text() const { return path + ":" + std::to_string(line) + ": " + rule; }
};

/// Checks one C++ or CUDA file: who may include whom, names that may not be used, sizes.
/// path is relative to the project's root, with '/' ("csrc/base/hash.cpp"); text is the whole file.
std::vector<Violation> check_file(std::string_view path, std::string_view text);

/// Checks the names in the project's root directory: the table of contents stays as it is.
std::vector<Violation> check_top_level(const std::vector<std::string>& names);

/// text with comments blanked and the insides of string and character literals too; lines and
/// columns stay.
std::string code_only(std::string_view text);

}  // namespace kente
