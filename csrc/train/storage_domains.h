#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "csrc/base/file_system.h"

namespace kente {

/// Which ranks see the same run directory. Found by looking, not by host name: ranks of one node
/// may have directories of their own, and nodes may share one.
struct StorageDomains {
  std::vector<int> domain_of;  // by rank; domains are numbered from 0 by their lowest rank
  std::vector<int> leader_of;  // by domain: its lowest rank
};

/// Every rank leaves a mark in directory and looks for the others'. A collective. token: equal on
/// all ranks, unique.
StorageDomains find_storage_domains(Communicator& world, FileSystem& files,
                                    const std::string& directory, const std::string& token,
                                    const Deadline& deadline);

}  // namespace kente
