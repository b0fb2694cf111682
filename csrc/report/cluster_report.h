#pragma once

#include <string>
#include <vector>

#include "csrc/config/cluster.h"
#include "csrc/report/finding.h"

namespace kente {

/// A measured cluster for people: tables of devices, layer times and links, then what would hurt.
std::string cluster_text(const ClusterProfile& cluster, const std::vector<Finding>& findings);

/// The same as one self-contained page, light and dark. Names are hostile: everything is escaped.
std::string cluster_html(const ClusterProfile& cluster, const std::vector<Finding>& findings);

/// The numbers of cluster_text for scripts.
std::string cluster_json(const ClusterProfile& cluster, const std::vector<Finding>& findings);

/// A cluster and where its profile came from.
struct NamedCluster {
  std::string name;
  ClusterProfile cluster;
};

/// Two clusters side by side, and how many times better the second is. Says so where they were
/// measured for other layers.
std::string compare_text(const NamedCluster& a, const NamedCluster& b);
std::string compare_html(const NamedCluster& a, const NamedCluster& b);

}  // namespace kente
