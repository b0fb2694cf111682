#include "csrc/base/backoff.h"
#include "csrc/base/errors.h"
#include "csrc/device/device.h"

namespace kente {

void Event::wait(const Deadline& deadline, const std::string& what) {
  Backoff backoff;
  while (!passed()) {
    if (deadline.passed()) throw DeviceError(what + ": " + no_answer_within(deadline));
    backoff.pause();
  }
}

}  // namespace kente
