#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace kente {

/// An option of a command. What is refused says which option it was and what is allowed.
class CommandOption {
 public:
  explicit CommandOption(CLI::Option& option) : option_(option) {}

  CommandOption required();
  /// Takes exactly so many words; else one, and a list at least one.
  CommandOption words(int count);
  /// The help shows the value that the variable has now.
  CommandOption show_default();
  CommandOption between(int least, int most);
  CommandOption between(double least, double most);
  CommandOption positive();
  CommandOption not_negative();
  CommandOption existing_file();
  /// One of these words, upper and lower case alike; the variable gets the word as it stands here.
  CommandOption one_of(const std::vector<std::string>& words);

 private:
  CLI::Option& option_;
};

/// A command and what it takes. The variables must outlive the parsing. CLI11 does the work; its
/// header stands in one file alone, for it costs each file that reads it seconds of compile time.
class Command {
 public:
  explicit Command(CLI::App& app) : app_(&app) {}

  /// "--step", "-n,--lines"; without dashes by its place. T: string, int, int64_t, uint64_t
  /// (size_t), double, an optional of a 64-bit integer, a vector of strings or of int64_t
  /// (repeatable).
  template <class T>
  CommandOption option(const std::string& names, T& value, const std::string& help);
  void flag(const std::string& names, bool& value, const std::string& help);
  /// A command below this one: "kente ckpt ls". One of them must be given.
  Command command(const std::string& name, const std::string& about);
  /// What stands below the help.
  void footer(const std::string& text);
  /// Words it does not know are no error: others() has them after parsing.
  void allow_others();
  std::vector<std::string> others() const;
  /// Whether this command was given.
  bool given() const;

 protected:
  CLI::App* app_;
};

/// Whether help is printed where it was asked for: one rank of many does.
enum class Help { kPrinted, kSilent };

/// The words after a program's name.
class CommandLine : public Command {
 public:
  CommandLine(const std::string& about, const std::string& name);
  CommandLine(const CommandLine&) = delete;
  CommandLine& operator=(const CommandLine&) = delete;
  ~CommandLine();

  /// Reads the words into the variables. True when help was asked for: there is nothing to do then.
  /// Throws UsageError for wrong words; where_to_read ends it, by default "see `NAME --help`".
  bool asks_for_help(int argc, char** argv, const std::string& where_to_read = "",
                     Help help = Help::kPrinted);

 private:
  explicit CommandLine(std::unique_ptr<CLI::App> app);

  std::unique_ptr<CLI::App> owned_;
};

}  // namespace kente
