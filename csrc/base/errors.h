#pragma once

#include <cstdint>
#include <exception>
#include <stdexcept>
#include <string>

namespace kente {

/// The program's exit statuses. Every failure maps to one of them in exit_status().
enum class ExitStatus : int {
  kDone = 0,
  kBug = 1,
  kUsage = 2,
  kPeer = 3,
  kStorage = 4,
  kStopped = 5
};

/// Base of all failures. what() is one line: what, where, what to do.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The user must change something: a recipe, a path, a flag. Exit status 2.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// A peer died, or did not answer before its deadline. Rebuild the mesh, resume. Exit status 3.
class PeerError : public Error {
 public:
  using Error::Error;
};

/// This process's device failed. Restart this process. Exit status 3.
class DeviceError : public Error {
 public:
  using Error::Error;
};

/// A disk failed. Keep training and alarm; on load try the older checkpoint. Exit status 4.
class StorageError : public Error {
 public:
  using Error::Error;
};

/// Foreign bytes that do not follow their format. Refuse the input. Exit status 2.
class FormatError : public Error {
 public:
  /// what() becomes "file: byte offset: what"; a negative offset is left out.
  FormatError(const std::string& file, int64_t offset, const std::string& what);
  const std::string& file() const { return file_; }
  int64_t offset() const { return offset_; }

 private:
  std::string file_;
  int64_t offset_;
};

/// A broken invariant: our bug. Exit status 1.
class InternalError : public Error {
 public:
  using Error::Error;
};

/// The exit status for a failure; anything that is not an Error is a bug.
ExitStatus exit_status(const std::exception& failure);

/// Throws InternalError("file:line: claim does not hold: detail") unless claim holds.
#define KENTE_CHECK(claim, detail) \
  ((claim) ? static_cast<void>(0) : ::kente::check_failed(__FILE__, __LINE__, #claim, (detail)))

[[noreturn]] void check_failed(const char* file, int line, const char* claim,
                               const std::string& detail);

}  // namespace kente
