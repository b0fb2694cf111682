#include "csrc/base/errors.h"
#include "csrc/device/device.h"

namespace kente {
namespace {

[[noreturn]] void refuse(int number) {
  throw UsageError("GPU " + std::to_string(number) +
                   ": this kente was built without CUDA; build the preset cuda");
}

}  // namespace

int count_gpus() { return 0; }

std::string gpu_id(int number) { refuse(number); }

std::unique_ptr<Device> make_gpu_device(int number) { refuse(number); }

}  // namespace kente
