#include "launch/command_line.h"

#include <CLI/CLI.hpp>
#include <utility>

#include "csrc/base/errors.h"

namespace kente {

CommandOption CommandOption::required() {
  option_.required();
  return *this;
}

CommandOption CommandOption::words(int count) {
  option_.expected(count);
  return *this;
}

CommandOption CommandOption::show_default() {
  option_.capture_default_str();
  return *this;
}

CommandOption CommandOption::between(int least, int most) {
  option_.check(CLI::Range(least, most));
  return *this;
}

CommandOption CommandOption::between(double least, double most) {
  option_.check(CLI::Range(least, most));
  return *this;
}

CommandOption CommandOption::positive() {
  option_.check(CLI::PositiveNumber);
  return *this;
}

CommandOption CommandOption::not_negative() {
  option_.check(CLI::NonNegativeNumber);
  return *this;
}

CommandOption CommandOption::existing_file() {
  option_.check(CLI::ExistingFile);
  return *this;
}

CommandOption CommandOption::one_of(const std::vector<std::string>& words) {
  option_.transform(CLI::IsMember(words, CLI::ignore_case));
  return *this;
}

template <class T>
CommandOption Command::option(const std::string& names, T& value, const std::string& help) {
  return CommandOption(*app_->add_option(names, value, help));
}

template CommandOption Command::option(const std::string&, std::string&, const std::string&);
template CommandOption Command::option(const std::string&, int&, const std::string&);
template CommandOption Command::option(const std::string&, int64_t&, const std::string&);
template CommandOption Command::option(const std::string&, uint64_t&, const std::string&);
template CommandOption Command::option(const std::string&, double&, const std::string&);
template CommandOption Command::option(const std::string&, std::optional<int64_t>&,
                                       const std::string&);
template CommandOption Command::option(const std::string&, std::optional<uint64_t>&,
                                       const std::string&);
template CommandOption Command::option(const std::string&, std::vector<std::string>&,
                                       const std::string&);
template CommandOption Command::option(const std::string&, std::vector<int64_t>&,
                                       const std::string&);

void Command::flag(const std::string& names, bool& value, const std::string& help) {
  app_->add_flag(names, value, help);
}

Command Command::command(const std::string& name, const std::string& about) {
  app_->require_subcommand(1);
  return Command(*app_->add_subcommand(name, about));
}

void Command::footer(const std::string& text) { app_->footer(text); }

void Command::allow_others() { app_->allow_extras(); }

std::vector<std::string> Command::others() const { return app_->remaining(); }

bool Command::given() const { return app_->parsed(); }

CommandLine::CommandLine(const std::string& about, const std::string& name)
    : CommandLine(std::make_unique<CLI::App>(about, name)) {}

CommandLine::CommandLine(std::unique_ptr<CLI::App> app) : Command(*app), owned_(std::move(app)) {}

CommandLine::~CommandLine() = default;

bool CommandLine::asks_for_help(int argc, char** argv, const std::string& where_to_read,
                                Help help) {
  try {
    app_->parse(argc, argv);
  } catch (const CLI::Success& asked) {
    if (help == Help::kPrinted) app_->exit(asked);
    return true;
  } catch (const CLI::ParseError& wrong) {
    throw UsageError(
        std::string(wrong.what()) + "; " +
        (where_to_read.empty() ? "see `" + app_->get_name() + " --help`" : where_to_read));
  }
  return false;
}

}  // namespace kente
