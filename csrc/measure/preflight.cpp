#include "csrc/measure/preflight.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "csrc/config/model_layout.h"
#include "csrc/measure/statistics.h"

namespace kente {
namespace {

constexpr double kMostClockSeconds = 0.5;
constexpr int64_t kLeastShmBytesPerRank = 16 << 20;  // Open MPI's segments between ranks of a node
constexpr int64_t kStateBytes = 16;                  // a parameter's weight, gradient, two moments
constexpr double kSlowLink = 4;                      // times slower than the median of its like
constexpr double kSlowRank = 1.25;

using Ranks = std::vector<RankFacts>;

class FactChecks {
 public:
  FactChecks(const Ranks& ranks, const Recipe& recipe) : ranks_(ranks), recipe_(recipe) {}

  std::vector<Finding> run() {
    same("recipe", &RankFacts::recipe_sha256, "start every rank with the same recipe and --set");
    same("build of kente", &RankFacts::build, "install one build on all nodes");
    same("libtorch", &RankFacts::libtorch, "install one version on all nodes");
    same("MPI library", &RankFacts::mpi, "install one version on all nodes");
    processors();
    clocks();
    std::set<std::string> seen;
    for (size_t rank = 0; rank < ranks_.size(); ++rank)
      if (seen.insert(ranks_[rank].host.name).second) node(rank);
    memory();
    interfaces(seen.size());
    return std::move(found_);
  }

 private:
  void add(Severity severity, std::string what, std::string what_to_do) {
    found_.push_back({severity, std::move(what), std::move(what_to_do)});
  }

  void same(const char* what, std::string RankFacts::*field, const char* what_to_do) {
    for (size_t rank = 1; rank < ranks_.size(); ++rank)
      if (ranks_[rank].*field != ranks_[0].*field)
        return add(Severity::kStop,
                   fmt::format("{} of rank {} ({}) is {}, rank 0's is {}", what, rank,
                               ranks_[rank].host.name, shown(ranks_[rank].*field),
                               shown(ranks_[0].*field)),
                   what_to_do);
  }

  static std::string shown(const std::string& text) {
    return text.size() > 24 ? text.substr(0, 24) + "..." : text;
  }

  void processors() {
    for (const auto& [what, field] :
         {std::pair("processors of several makers", &HostFacts::cpu_vendor),
          std::pair("processors of several models", &HostFacts::cpu_model),
          std::pair("processors with other instruction sets", &HostFacts::instructions)})
      for (size_t rank = 1; rank < ranks_.size(); ++rank) {
        const std::string& own = ranks_[rank].host.*field;
        if (own == ranks_[0].host.*field) continue;
        return add(
            Severity::kWarn,
            fmt::format("{}: {} (rank 0), {} (rank {})", what, ranks_[0].host.*field, own, rank),
            "fine for reduction FAST; EXACT promises equal bits on one kind only, and MKL "
            "is slower on some makers' processors");
      }
  }

  void clocks() {
    size_t worst = 0;
    for (size_t rank = 1; rank < ranks_.size(); ++rank)
      if (std::abs(ranks_[rank].clock_offset_seconds) >
          std::abs(ranks_[worst].clock_offset_seconds))
        worst = rank;
    const double offset = ranks_[worst].clock_offset_seconds;
    if (std::abs(offset) > kMostClockSeconds)
      add(Severity::kWarn,
          fmt::format("the clock of rank {} ({}) is {:.1f} s {} rank 0's", worst,
                      ranks_[worst].host.name, std::abs(offset),
                      offset > 0 ? "ahead of" : "behind"),
          "run an NTP client on every node: logs and certificates go by the clock");
  }

  void node(size_t first) {
    const HostFacts& host = ranks_[first].host;
    const int64_t ranks = ranks_on_node(ranks_, first);
    // Imitated devices mostly wait.
    if (ranks > host.cores && ranks_[first].imitation.empty())
      add(Severity::kWarn, fmt::format("{}: {} ranks share {} cores", host.name, ranks, host.cores),
          fmt::format("start {} there; the times measured hold for {} at once", host.cores, ranks));
    if (ranks > 1 && host.shm_bytes < kLeastShmBytesPerRank * ranks)
      add(Severity::kWarn,
          fmt::format("{}: /dev/shm has {} MiB for {} ranks", host.name, host.shm_bytes >> 20,
                      ranks),
          fmt::format("give it {} MiB (docker run --shm-size), or messages between ranks fail",
                      kLeastShmBytesPerRank * ranks >> 20));
  }

  void memory() {
    int64_t all = 0;
    for (size_t rank = 0; rank < ranks_.size(); ++rank)
      all += ranks_[rank].host.free_bytes / ranks_on_node(ranks_, rank);
    const int64_t need = kStateBytes * parameter_count(recipe_.model);
    if (all < need)
      add(Severity::kWarn,
          fmt::format("all ranks together have {} MiB free, the model's state alone takes {} MiB",
                      all >> 20, need >> 20),
          "add ranks on other nodes, free memory, or train a smaller model");
  }

  /// mpirun tries every interface that is up; a bridge for containers leads nowhere.
  void interfaces(size_t nodes) {
    if (nodes < 2) return;
    std::set<std::string> bridges;
    for (const RankFacts& rank : ranks_)
      for (const std::string& name : rank.host.interfaces)
        for (const char* prefix : {"docker", "virbr", "br-", "cni", "flannel"})
          if (name.starts_with(prefix)) bridges.insert(name);
    if (bridges.empty()) return;
    std::string list;
    for (const std::string& name : bridges) list += (list.empty() ? "" : ",") + name;
    add(Severity::kNote, fmt::format("interfaces that lead to no other node are up: {}", list),
        fmt::format("if mpirun hangs or is slow: --mca btl_tcp_if_exclude lo,{}", list));
  }

  const Ranks& ranks_;
  const Recipe& recipe_;
  std::vector<Finding> found_;
};

double rate_of(const LinkProfile& link) {
  return link.busy_bytes_per_second > 0 ? link.busy_bytes_per_second : link.bytes_per_second;
}

/// Links between nodes are compared with links between nodes, those inside with those inside.
void check_links(const ClusterProfile& cluster, std::vector<Finding>& found) {
  std::map<std::string, std::string> node_of;
  for (const DeviceProfile& device : cluster.devices) node_of[device.id] = device.node;
  for (const bool inside : {true, false}) {
    std::vector<double> rates;
    const auto counts = [&](const LinkProfile& link) {
      return (node_of[link.from] == node_of[link.to]) == inside;
    };
    for (const LinkProfile& link : cluster.links)
      if (counts(link)) rates.push_back(rate_of(link));
    if (rates.size() < 3) continue;
    const double usual = median(rates);
    for (const LinkProfile& link : cluster.links)
      if (counts(link) && rate_of(link) * kSlowLink < usual)
        found.push_back(
            {Severity::kWarn,
             fmt::format("the link {} - {} carries {:.3g} MB/s, others like it {:.3g}", link.from,
                         link.to, rate_of(link) * 1e-6, usual * 1e-6),
             inside ? "look for other load on the node"
                    : "see which interface it uses: mpirun --mca btl_tcp_if_include NETWORK"});
  }
}

double block_seconds(const DeviceProfile& device) {
  for (const LayerCurve& curve : device.curves)
    if (curve.layer == LayerKind::kBlock && !curve.at.empty()) {
      const LayerSeconds& one = curve.at.front();
      return one.forward + one.backward_input + one.backward_weight;
    }
  return 0;
}

void check_ranks(const ClusterProfile& cluster, const std::vector<RankFacts>& facts,
                 std::vector<Finding>& found) {
  std::map<std::string, std::vector<size_t>> by_kind;
  for (size_t rank = 0; rank < facts.size(); ++rank) by_kind[facts[rank].kind].push_back(rank);
  for (const auto& [kind, ranks] : by_kind) {
    if (ranks.size() < 3) continue;  // of two unlike ones nobody knows which is wrong
    std::vector<double> seconds;
    for (const size_t rank : ranks) seconds.push_back(block_seconds(cluster.devices.at(rank)));
    const double usual = median(seconds);
    for (size_t i = 0; i < ranks.size(); ++i)
      if (seconds[i] > kSlowRank * usual)
        found.push_back({Severity::kWarn,
                         fmt::format("rank {} ({}) takes {:.2f} times as long as its like ({})",
                                     ranks[i], facts[ranks[i]].host.name, seconds[i] / usual, kind),
                         "look for other load, heat or a power limit on that node; plans allow "
                         "for it"});
  }
}

}  // namespace

std::vector<Finding> check_facts(const std::vector<RankFacts>& ranks, const Recipe& recipe) {
  return FactChecks(ranks, recipe).run();
}

std::vector<Finding> check_profile(const ClusterProfile& cluster,
                                   const std::vector<RankFacts>& facts) {
  std::vector<Finding> found;
  check_links(cluster, found);
  check_ranks(cluster, facts, found);
  return found;
}

}  // namespace kente
