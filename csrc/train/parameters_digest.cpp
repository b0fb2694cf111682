#include "csrc/train/parameters_digest.h"

#include <map>

#include "csrc/base/hash.h"
#include "csrc/train/gather.h"

namespace kente {

std::string parameters_digest(Communicator& world, const Mesh& mesh, HostState& state,
                              const Deadline& deadline) {
  state.read();
  // "group digest" lines of the groups this rank answers for: those whose lowest holder it is.
  std::string mine;
  for (const Bucket& bucket : mesh.buckets) {
    if (bucket.holders.front() != world.rank()) continue;
    for (const int group : bucket.groups) {
      const auto count = static_cast<size_t>(state.parameters().layout(group).size);
      const void* const master = state.data(StateKind::kMaster, group);
      mine += std::to_string(group) + " " +
              sha256_hex({static_cast<const char*>(master), count * sizeof(float)}) + "\n";
    }
  }
  std::map<int, std::string> by_group;
  for (const std::string& text : all_gather_text(world, mine, deadline))
    for (size_t at = 0; at < text.size();) {
      const size_t end = text.find('\n', at);
      const size_t space = text.find(' ', at);
      by_group[std::stoi(text.substr(at, space - at))] = text.substr(space + 1, end - space - 1);
      at = end + 1;
    }
  std::string all;
  for (const auto& [group, digest] : by_group) all += std::to_string(group) + " " + digest + "\n";
  return sha256_hex(all);
}

}  // namespace kente
