#pragma once

#include <utility>

namespace kente {

/// Owns a C handle. Deleter is a stateless functor: deleter(handle) releases, Deleter::none() is
/// the value that owns nothing.
template <typename T, typename Deleter>
class UniqueHandle {
 public:
  UniqueHandle() = default;
  explicit UniqueHandle(T handle) : handle_(handle) {}
  UniqueHandle(UniqueHandle&& other) noexcept : handle_(other.release()) {}
  UniqueHandle& operator=(UniqueHandle&& other) noexcept {
    if (this != &other) {
      reset();
      handle_ = other.release();
    }
    return *this;
  }
  UniqueHandle(const UniqueHandle&) = delete;
  UniqueHandle& operator=(const UniqueHandle&) = delete;
  ~UniqueHandle() { reset(); }

  T get() const { return handle_; }
  explicit operator bool() const { return handle_ != Deleter::none(); }
  T release() { return std::exchange(handle_, Deleter::none()); }
  void reset() {
    if (handle_ != Deleter::none()) Deleter{}(std::exchange(handle_, Deleter::none()));
  }

 private:
  T handle_ = Deleter::none();
};

}  // namespace kente
