#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "csrc/base/errors.h"

namespace kente {

/// Reads the words into app's options. The exit status when help was asked for, and printed. Throws
/// UsageError for wrong words, naming where to read on.
inline std::optional<int> parse_words(CLI::App& app, const std::string& command, int argc,
                                      char** argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& wrong) {
    throw UsageError(std::string(wrong.what()) + "; see `" + command + " --help`");
  }
  return std::nullopt;
}

}  // namespace kente
