#include "comm/staged.h"

#include <gtest/gtest.h>

#include <tuple>

#include "tests/comm/communicator_cases.h"
#include "tests/support/on_threads.h"

namespace kente {
namespace {

class EveryStagedCommunicator : public testing::TestWithParam<std::tuple<size_t, int>> {};

/// On a CPU, whose own memory is the device's.
TEST_P(EveryStagedCommunicator, HoldsTheContract) {
  const auto [number, ranks] = GetParam();
  on_threads(ranks, [&, number = number](Communicator& inner) {
    const auto device = make_cpu_device();
    const auto stream = device->make_stream(Urgency::kUsual);
    const DeviceCommunicators staged = make_staged(inner, *device, *stream);
    communicator_cases()[number].run(*staged.tensors);
    communicator_cases()[number].run(*staged.host);
  });
}

INSTANTIATE_TEST_SUITE_P(Cpu, EveryStagedCommunicator,
                         testing::Combine(testing::Range(size_t{0}, communicator_cases().size()),
                                          testing::Range(1, 4)),
                         [](const auto& info) {
                           return communicator_cases()[std::get<0>(info.param)].name +
                                  std::to_string(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace kente
