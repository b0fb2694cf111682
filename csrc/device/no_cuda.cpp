#include "csrc/base/errors.h"
#include "csrc/device/device.h"

namespace kente {

int count_gpus() { return 0; }

std::unique_ptr<Device> make_gpu_device(int number) {
  throw UsageError("GPU " + std::to_string(number) +
                   ": this kente was built without CUDA; build the preset cuda");
}

}  // namespace kente
