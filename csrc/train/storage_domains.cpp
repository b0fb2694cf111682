#include "csrc/train/storage_domains.h"

#include <algorithm>

#include "csrc/train/gather.h"

namespace kente {
namespace {

std::string mark(const std::string& token, int rank) {
  return ".mark-" + token + "-" + std::to_string(rank);
}

}  // namespace

StorageDomains find_storage_domains(Communicator& world, FileSystem& files,
                                    const std::string& directory, const std::string& token,
                                    const Deadline& deadline) {
  const std::string own = directory + "/" + mark(token, world.rank());
  together(
      world, [&] { files.create(own)->close(); }, deadline);
  int64_t lowest = world.rank();
  together(
      world,
      [&] {
        const std::vector<std::string> names = files.list(directory);
        for (int rank = world.rank() - 1; rank >= 0; --rank)
          if (std::binary_search(names.begin(), names.end(), mark(token, rank))) lowest = rank;
      },
      deadline);
  std::vector<int64_t> all(static_cast<size_t>(world.size()));
  world
      .all_gather({.data = &lowest, .count = 1, .dtype = DType::kI64},
                  {.data = all.data(), .count = world.size(), .dtype = DType::kI64})
      ->wait(deadline);
  files.remove(own);

  StorageDomains domains;
  for (const int64_t leader : all) {
    const auto known = std::find(domains.leader_of.begin(), domains.leader_of.end(), leader);
    domains.domain_of.push_back(static_cast<int>(known - domains.leader_of.begin()));
    if (known == domains.leader_of.end()) domains.leader_of.push_back(static_cast<int>(leader));
  }
  return domains;
}

}  // namespace kente
