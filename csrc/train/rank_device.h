#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "comm/pumped.h"
#include "csrc/config/recipe.h"
#include "csrc/device/device.h"
#include "csrc/nn/ops/ops.h"

namespace kente {

/// What a rank is asked to compute on: with kAuto a GPU where one is left for it, else the CPU.
enum class DeviceChoice { kAuto, kCpu, kGpu };

/// How tensors travel between GPUs: with kAuto by NCCL where every rank has one of its own, else
/// through the host.
enum class TransportChoice { kAuto, kHost };

struct DeviceChoices {
  DeviceChoice device = DeviceChoice::kAuto;
  TransportChoice transport = TransportChoice::kAuto;
  double timeout_seconds = 600;  // a peer silent for so long is lost
};

/// What a rank of a node wants, and which GPUs it sees there.
struct DeviceWish {
  DeviceChoice choice = DeviceChoice::kAuto;
  std::vector<std::string> seen = {};  // by the number it knows them by; ids equal on all ranks
};

/// The number of the GPU that each rank of a node takes, -1: the CPU. One GPU a rank in their
/// order, the first that is not taken; a rank that insists where all are shares the one with the
/// fewest ranks. Throws UsageError for one that insists and sees none. Pure.
std::vector<int> share_gpus(const std::vector<DeviceWish>& wishes);

/// Why the kernels for GPUs cannot train this model; empty: they can.
std::string why_no_gpu(const ModelConfig& model);

/// What a rank computes on, and how its tensors travel.
class RankDevice {
 public:
  /// node: where this rank runs; ranks with the same one share its GPUs. Throws UsageError for a
  /// model that its GPU cannot train. A collective.
  RankDevice(Communicator& world, const std::string& node, const DeviceChoices& choices,
             const ModelConfig& model);

  Ops& ops() { return ops_ ? *ops_ : cpu_ops(); }
  /// To be used in place of the world it was made with.
  Communicator& world() { return communicators_.host ? *communicators_.host : world_; }
  /// For what is in the GPU's memory; null on a CPU.
  Communicator* tensors() { return communicators_.tensors.get(); }
  /// Of the GPU, now; nothing on a CPU.
  DeviceFacts gpu() { return device_ ? device_->facts() : DeviceFacts(); }

 private:
  Communicator& world_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Ops> ops_;
  DeviceCommunicators communicators_;
};

}  // namespace kente
