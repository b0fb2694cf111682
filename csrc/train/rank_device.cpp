#include "csrc/train/rank_device.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <sstream>

#include "comm/nccl.h"
#include "comm/staged.h"
#include "csrc/base/errors.h"
#include "csrc/nn/ops/gpu_ops.h"
#include "csrc/train/gather.h"

namespace kente {
namespace {

/// As lines: the node, the choice's number, the ids of the GPUs.
std::string to_lines(const std::string& node, const DeviceWish& wish) {
  std::string lines = node + "\n" + std::to_string(static_cast<int>(wish.choice)) + "\n";
  for (const std::string& id : wish.seen) lines += id + "\n";
  return lines;
}

DeviceWish own_wish(DeviceChoice choice) {
  DeviceWish wish{.choice = choice};
  if (choice == DeviceChoice::kCpu) return wish;
  for (int gpu = 0; gpu < count_gpus(); ++gpu) wish.seen.push_back(gpu_id(gpu));
  return wish;
}

/// The GPU for this rank, -1: the CPU. A collective.
int choose_gpu(Communicator& world, const std::string& node, DeviceChoice choice,
               const Deadline& deadline) {
  std::string mine;
  together(
      world, [&] { mine = to_lines(node, own_wish(choice)); }, deadline);
  std::vector<DeviceWish> wishes;
  size_t own = 0;
  const std::vector<std::string> all = all_gather_text(world, mine, deadline);
  for (size_t rank = 0; rank < all.size(); ++rank) {
    std::istringstream lines(all[rank]);
    std::string line;
    std::getline(lines, line);
    if (line != node) continue;
    if (static_cast<int>(rank) == world.rank()) own = wishes.size();
    std::getline(lines, line);
    DeviceWish& wish = wishes.emplace_back();
    wish.choice = static_cast<DeviceChoice>(std::stoi(line));
    while (std::getline(lines, line)) wish.seen.push_back(line);
  }
  int chosen = -1;
  together(
      world, [&] { chosen = share_gpus(wishes)[own]; }, deadline);
  return chosen;
}

/// Every rank has a GPU of its own for NCCL. id: of this rank's; empty: none. A collective.
bool one_each(Communicator& world, const std::string& node, const std::string& id,
              const Deadline& deadline) {
  std::set<std::string> gpus;
  for (const std::string& gpu : all_gather_text(world, id.empty() ? "" : node + " " + id, deadline))
    if (gpu.empty() || !gpus.insert(gpu).second) return false;
  return true;
}

}  // namespace

std::vector<int> share_gpus(const std::vector<DeviceWish>& wishes) {
  std::map<std::string, int> ranks;  // that have it
  std::vector<int> chosen;
  for (const DeviceWish& wish : wishes) {
    const auto least =
        std::ranges::min_element(wish.seen, {}, [&](const std::string& id) { return ranks[id]; });
    const bool none = least == wish.seen.end();
    const bool insists = wish.choice == DeviceChoice::kGpu;
    if (none && insists)
      throw UsageError("--device gpu: this rank sees no GPU; see nvidia-smi, or use --device auto");
    if (wish.choice == DeviceChoice::kCpu || none || (ranks[*least] > 0 && !insists)) {
      chosen.push_back(-1);
      continue;
    }
    ++ranks[*least];
    chosen.push_back(static_cast<int>(least - wish.seen.begin()));
  }
  return chosen;
}

std::string why_no_gpu(const ModelConfig& model) {
  const bool turns = model.family != ModelFamily::kGpt2;  // by RoPE
  const int64_t heads_multiple = turns ? 16 : 8;
  if (model.hidden_size % 8 != 0 || model.hidden_size > 8192)
    return fmt::format("hidden_size {} is no multiple of 8 up to 8192", model.hidden_size);
  if (model.intermediate_size % 8 != 0)
    return fmt::format("intermediate_size {} is no multiple of 8", model.intermediate_size);
  if (model.head_dim() % heads_multiple != 0 || model.head_dim() > 256)
    return fmt::format("heads of {} are no multiple of {} up to 256", model.head_dim(),
                       heads_multiple);
  return "";
}

RankDevice::RankDevice(Communicator& world, const std::string& node, const DeviceChoices& choices,
                       const ModelConfig& model)
    : world_(world) {
  const Deadline deadline = Deadline::after_seconds(choices.timeout_seconds);
  const int gpu = choose_gpu(world, node, choices.device, deadline);
  together(
      world,
      [&] {
        if (gpu < 0) return;
        if (const std::string why = why_no_gpu(model); !why.empty())
          throw UsageError("the recipe's model: " + why +
                           ", as GPUs want it; change it, or use --device cpu");
        device_ = make_gpu_device(gpu);
        stream_ = device_->make_stream(Urgency::kUsual);
        ops_ = make_gpu_ops(gpu, *device_, *stream_);
      },
      deadline);
  const bool may = device_ && has_nccl() && choices.transport == TransportChoice::kAuto;
  const bool by_nccl = one_each(world, node, may ? device_->facts().id : "", deadline);
  if (!device_) return;
  communicators_ = by_nccl ? make_nccl(world, *device_, *stream_, deadline)
                           : make_staged(world, *device_, *stream_);
}

}  // namespace kente
