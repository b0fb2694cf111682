#include "launch/launch_resources.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "csrc/base/errors.h"
#include "csrc/base/hash.h"

namespace kente {
namespace {

constexpr std::array kScratchParents = {"/tmp", "/dev/shm"};

/// Short: the names of sockets below it must fit into 107 characters.
std::string scratch_prefix(const std::string& run_directory) {
  const std::string run = std::filesystem::weakly_canonical(run_directory).string();
  return "kente-mpi-" + hex64(xxh3_64(run.data(), run.size())) + "-";
}

/// A new directory whose name begins so. Empty when it cannot be made: Open MPI then uses its own.
std::string make_directory(const std::string& parent, const std::string& prefix) {
  std::string pattern = parent + "/" + prefix + "XXXXXX";
  return ::mkdtemp(pattern.data()) != nullptr ? pattern : std::string();
}

}  // namespace

RunLock::RunLock(const std::string& run_directory) {
  const std::string path = run_directory + "/launch.lock";
  file_ = Descriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!file_) throw StorageError(path + ": " + std::strerror(errno) + "; is the disk writable?");
  if (::flock(file_.get(), LOCK_EX | LOCK_NB) != 0) {
    std::string holder;
    std::ifstream(path) >> holder;
    throw UsageError(run_directory + ": process " + holder +
                     " supervises this run already; stop it, or name another --out");
  }
  const std::string own = std::to_string(::getpid()) + "\n";
  if (::ftruncate(file_.get(), 0) != 0 ||
      ::pwrite(file_.get(), own.data(), own.size(), 0) != static_cast<ssize_t>(own.size()))
    throw StorageError(path + ": " + std::strerror(errno) + "; is the disk full?");
}

pid_t RunLock::holder(const std::string& run_directory) {
  const std::string path = run_directory + "/launch.lock";
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file || ::flock(file.get(), LOCK_SH | LOCK_NB) == 0) return 0;
  pid_t holder = 0;
  std::ifstream(path) >> holder;
  return holder;
}

LaunchSignals::LaunchSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGCHLD}) sigaddset(&set, signal);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  fd_ = Descriptor(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

void LaunchSignals::wait(double seconds) const {
  pollfd wait = {.fd = fd_.get(), .events = POLLIN, .revents = 0};
  ::poll(&wait, 1, static_cast<int>(seconds * 1000) + 1);
}

int LaunchSignals::stop_orders() const {
  int orders = 0;
  signalfd_siginfo info;
  while (::read(fd_.get(), &info, sizeof info) == sizeof info)
    if (info.ssi_signo != SIGCHLD) ++orders;
  return orders;
}

void MpiScratch::remove_old(const std::string& run_directory) {
  const std::string prefix = scratch_prefix(run_directory);
  std::error_code ignored;
  for (const char* parent : kScratchParents)
    for (const auto& entry : std::filesystem::directory_iterator(parent, ignored))
      if (entry.path().filename().string().starts_with(prefix))
        std::filesystem::remove_all(entry.path(), ignored);
}

MpiScratch::MpiScratch(const std::string& run_directory)
    : tmp_(make_directory(kScratchParents[0], scratch_prefix(run_directory))),
      shm_(make_directory(kScratchParents[1], scratch_prefix(run_directory))) {}

MpiScratch::~MpiScratch() {
  std::error_code ignored;
  for (const std::string& path : {tmp_, shm_})
    if (!path.empty()) std::filesystem::remove_all(path, ignored);
}

void MpiScratch::add_to(std::map<std::string, std::string>& environment) const {
  if (!tmp_.empty())
    for (const char* name : {"OMPI_MCA_orte_tmpdir_base", "PRTE_MCA_prte_tmpdir_base"})
      environment[name] = tmp_;
  if (!shm_.empty())
    for (const char* name :
         {"OMPI_MCA_btl_vader_backing_directory", "OMPI_MCA_btl_sm_backing_directory"})
      environment[name] = shm_;
}

}  // namespace kente
