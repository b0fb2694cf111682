#pragma once

#include <algorithm>
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

/// A directory that some ranks may share, as one of them sees it.
struct StoragePlace {
  std::string directory;
  StorageDomains domains;

  int domain(int rank) const { return domains.domain_of.at(static_cast<size_t>(rank)); }
  /// Ranks that share a rank's directory, itself included.
  int sharing(int rank) const {
    return static_cast<int>(
        std::count(domains.domain_of.begin(), domains.domain_of.end(), domain(rank)));
  }
  /// Whether a rank does what is done once a directory.
  bool leads(int rank) const {
    return domains.leader_of.at(static_cast<size_t>(domain(rank))) == rank;
  }
};

/// Every rank leaves a mark in directory and looks for the others'. A collective. token: equal on
/// all ranks, unique.
StorageDomains find_storage_domains(Communicator& world, FileSystem& files,
                                    const std::string& directory, const std::string& token,
                                    const Deadline& deadline);

}  // namespace kente
