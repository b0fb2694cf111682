/// kente-report RUN: writes RUN/report.html and prints the same for a terminal.
/// Exit status: 0 done, 2 the user must change something, 4 the page could not be written.
#include <cstdio>

#include "csrc/base/errors.h"
#include "csrc/base/file_system.h"
#include "csrc/report/run_record.h"
#include "launch/command_line.h"
#include "launch/program.h"

namespace kente {
namespace {

int run(int argc, char** argv) {
  CommandLine app("Writes RUN/report.html, one self-contained page, and prints the same as text.",
                  "kente report");
  std::string directory;
  bool json = false;
  app.option("RUN", directory, "the run's directory").required();
  app.flag("--json", json, "print the headline numbers as JSON instead of text");
  if (app.asks_for_help(argc, argv)) return 0;
  const auto files = posix_file_system();
  const RunRecord record = read_run(*files, directory);
  const std::string page = directory + "/report.html";
  write_text_file(*files, page, report_html(record));
  if (json)
    std::printf("%s\n", report_json(record).c_str());
  else
    std::printf("%s\n%s\n", report_text(record).c_str(), page.c_str());
  return static_cast<int>(ExitStatus::kDone);
}

}  // namespace
}  // namespace kente

int main(int argc, char** argv) {
  return kente::program_main("kente report", kente::run, argc, argv);
}
