#include "csrc/measure/links.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <numeric>
#include <utility>

#include "csrc/base/clock.h"
#include "csrc/measure/agree.h"
#include "csrc/measure/link_fit.h"
#include "csrc/measure/statistics.h"
#include "csrc/nn/ops/element_type.h"
#include "csrc/train/tensor_view.h"

namespace kente {
namespace {

constexpr int kMostPairedRanks = 16;
constexpr int kMostAlone = 8;  // up to so many ranks idle links are measured one at a time
constexpr int kLinksTag = 7;
constexpr int kReduceRepeats = 5;

using Pair = std::pair<int, int>;
using PairRound = std::vector<Pair>;  // disjoint
enum class Load { kIdle, kBusy };

/// Ranks in the order of their nodes' first ranks.
std::vector<std::vector<int>> ranks_of_nodes(const std::vector<std::string>& nodes) {
  std::vector<std::vector<int>> found;
  std::map<std::string, size_t> index;
  for (size_t rank = 0; rank < nodes.size(); ++rank) {
    const auto [at, added] = index.emplace(nodes[rank], found.size());
    if (added) found.emplace_back();
    found[at->second].push_back(static_cast<int>(rank));
  }
  return found;
}

/// Which pairs are measured, and which measured pair stands for any two ranks.
class Pairs {
 public:
  explicit Pairs(const std::vector<std::string>& nodes) : by_node_(ranks_of_nodes(nodes)) {
    const int ranks = static_cast<int>(nodes.size());
    node_of_.resize(nodes.size());
    for (size_t node = 0; node < by_node_.size(); ++node)
      for (const int rank : by_node_[node]) node_of_[static_cast<size_t>(rank)] = node;
    every_ = ranks <= kMostPairedRanks;
    if (every_) {
      rounds_ = tournament(ranks);
      return;
    }
    for (const PairRound& round : tournament(static_cast<int>(by_node_.size()))) {
      PairRound& added = rounds_.emplace_back();
      for (const auto& [a, b] : round) added.push_back(std::minmax(first(a), first(b)));
    }
    PairRound& inside = rounds_.emplace_back();
    for (const std::vector<int>& node : by_node_)
      if (node.size() > 1) inside.emplace_back(node[0], node[1]);
  }

  const std::vector<PairRound>& rounds() const { return rounds_; }
  const std::vector<std::vector<int>>& by_node() const { return by_node_; }
  bool on_one_node(int a, int b) const { return node(a) == node(b); }
  Pair measured_for(int a, int b) const {
    if (every_) return std::minmax(a, b);
    const std::vector<int>& home = by_node_[node(a)];
    if (on_one_node(a, b)) return {home[0], home[1]};
    return std::minmax(home[0], by_node_[node(b)][0]);
  }

 private:
  int first(int node) const { return by_node_[static_cast<size_t>(node)].front(); }
  size_t node(int rank) const { return node_of_[static_cast<size_t>(rank)]; }

  std::vector<std::vector<int>> by_node_;
  std::vector<size_t> node_of_;
  bool every_ = true;
  std::vector<PairRound> rounds_;
};

class LinkBench {
 public:
  LinkBench(const LinkBenchOptions& options, Communicator& world)
      : options_(options),
        world_(world),
        tensors_(options.tensors ? *options.tensors : world),
        pairs_(options.nodes),
        table_(static_cast<size_t>(world.size()) * static_cast<size_t>(world.size()) * kColumns) {
    const int64_t largest = *std::max_element(options.sizes.begin(), options.sizes.end());
    out_ = options.ops->zeros({largest}, at::kByte);
    in_ = options.ops->zeros({largest}, at::kByte);
  }

  std::vector<LinkProfile> run();

 private:
  static constexpr size_t kColumns = 4;  // latency and bandwidth, idle and busy

  double* row(Pair pair) {
    return table_.data() +
           kColumns * (static_cast<size_t>(pair.first) * static_cast<size_t>(world_.size()) +
                       static_cast<size_t>(pair.second));
  }
  void carry_out(const PairRound& round, Load load);
  std::vector<LinkSample> ping_pong(int peer, Load load);
  void wait(Work& work, Load load);
  double reduce_rate(Communicator& ranks, Communicator& tensors, const std::vector<int>& members);
  std::vector<double> reduce_rates();
  Deadline deadline() const { return Deadline::after_seconds(options_.timeout_seconds); }

  const LinkBenchOptions& options_;
  Communicator& world_;
  Communicator& tensors_;
  const Pairs pairs_;
  std::vector<double> table_;
  at::Tensor out_, in_;
};

void LinkBench::wait(Work& work, Load load) {
  const Deadline until = deadline();
  if (load == Load::kIdle) return work.wait(until);
  do {
    options_.compute();
    tensors_.progress();
  } while (!work.done() && !until.passed());
  work.wait(until);
}

std::vector<LinkSample> LinkBench::ping_pong(int peer, Load load) {
  const bool begins = world_.rank() < peer;
  std::vector<LinkSample> samples;
  for (const int64_t bytes : options_.sizes)
    for (int i = 0; i <= options_.repeats; ++i) {
      const auto receive = tensors_.irecv(
          {.data = in_.data_ptr(), .count = bytes, .dtype = DType::kU8}, peer, kLinksTag);
      const int64_t begin = now_ns();
      if (!begins) wait(*receive, load);
      const auto send = tensors_.isend(
          {.data = out_.data_ptr(), .count = bytes, .dtype = DType::kU8}, peer, kLinksTag);
      if (begins) wait(*receive, load);
      // The first one only opens the connection.
      if (i > 0) samples.push_back({.bytes = bytes, .seconds = seconds_since(begin) / 2});
      wait(*send, Load::kIdle);
    }
  return samples;
}

void LinkBench::carry_out(const PairRound& round, Load load) {
  world_.barrier(deadline());
  for (const Pair& pair : round) {
    if (pair.first != world_.rank() && pair.second != world_.rank()) continue;
    const bool begins = pair.first == world_.rank();
    const std::vector<LinkSample> samples = ping_pong(begins ? pair.second : pair.first, load);
    if (!begins) continue;
    double* to = row(pair);
    LinkFit fit = {.latency_seconds = to[0], .bytes_per_second = to[1]};
    fit = load == Load::kBusy ? fit_busy_link(samples, fit) : fit_link(samples);
    if (load == Load::kBusy) to += 2;
    to[0] = fit.latency_seconds;
    to[1] = fit.bytes_per_second;
  }
}

double LinkBench::reduce_rate(Communicator& ranks, Communicator& tensors,
                              const std::vector<int>& members) {
  double latency = 0;
  for (size_t i = 0; i < members.size(); ++i)
    latency = std::max(latency,
                       row(pairs_.measured_for(members[i], members[(i + 1) % members.size()]))[0]);
  const int64_t bytes = options_.reduce_elements * size_of(options_.reduce_dtype);
  const at::Tensor buffer =
      options_.ops->zeros({options_.reduce_elements}, scalar_type(options_.reduce_dtype));
  std::vector<double> seconds;
  for (int i = 0; i <= kReduceRepeats; ++i) {
    ranks.barrier(deadline());
    const int64_t begin = now_ns();
    tensors.all_reduce(view_of(buffer), ReduceOp::kSum)->wait(deadline());
    if (i > 0) seconds.push_back(seconds_since(begin));
  }
  const double slowest = largest_of_all(ranks, median(seconds), deadline());
  return ring_step_rate(slowest, ranks.size(), bytes, latency);
}

/// Of each node's ranks among themselves, in order, then of all ranks; 0 where there is one rank.
std::vector<double> LinkBench::reduce_rates() {
  const auto& nodes = pairs_.by_node();
  std::vector<double> rates(nodes.size() + 1);
  std::vector<int> all(static_cast<size_t>(world_.size()));
  std::iota(all.begin(), all.end(), 0);
  rates.back() = reduce_rate(world_, tensors_, all);
  if (nodes.size() == 1) {
    rates.front() = rates.back();
    return rates;
  }
  int own = 0;
  for (size_t node = 0; node < nodes.size(); ++node)
    if (std::find(nodes[node].begin(), nodes[node].end(), world_.rank()) != nodes[node].end())
      own = static_cast<int>(node);
  const auto members = nodes[static_cast<size_t>(own)];
  const auto inside = world_.split(own, world_.rank());
  std::unique_ptr<Communicator> tensors_inside;
  if (options_.tensors) tensors_inside = tensors_.split(own, world_.rank());
  double rate = 0;
  if (members.size() > 1)
    rate = reduce_rate(*inside, tensors_inside ? *tensors_inside : *inside, members);
  std::vector<double> found(nodes.size());
  if (members.front() == world_.rank()) found[static_cast<size_t>(own)] = rate;
  world_
      .all_reduce(
          {.data = found.data(), .count = static_cast<int64_t>(found.size()), .dtype = DType::kF64},
          ReduceOp::kSum)
      ->wait(deadline());
  std::copy(found.begin(), found.end(), rates.begin());
  return rates;
}

std::vector<LinkProfile> LinkBench::run() {
  for (const PairRound& round : pairs_.rounds()) {
    if (world_.size() <= kMostAlone) {
      for (const Pair& pair : round) carry_out({pair}, Load::kIdle);
    } else {
      carry_out(round, Load::kIdle);
    }
  }
  for (const PairRound& round : pairs_.rounds()) carry_out(round, Load::kBusy);
  world_.barrier(deadline());
  // Each number is on one rank, zero on all others.
  world_
      .all_reduce({.data = table_.data(),
                   .count = static_cast<int64_t>(table_.size()),
                   .dtype = DType::kF64},
                  ReduceOp::kSum)
      ->wait(deadline());
  const std::vector<double> rates = reduce_rates();
  const auto node_of = [&](int rank) {
    const auto& nodes = pairs_.by_node();
    size_t node = 0;
    while (std::find(nodes[node].begin(), nodes[node].end(), rank) == nodes[node].end()) ++node;
    return node;
  };
  std::vector<LinkProfile> links;
  for (int a = 0; a < world_.size(); ++a)
    for (int b = a + 1; b < world_.size(); ++b) {
      const double* at = row(pairs_.measured_for(a, b));
      links.push_back(
          {.from = options_.ids[static_cast<size_t>(a)],
           .to = options_.ids[static_cast<size_t>(b)],
           .latency_seconds = at[0],
           .bytes_per_second = at[1],
           .busy_latency_seconds = at[2],
           .busy_bytes_per_second = at[3],
           .reduce_bytes_per_second = pairs_.on_one_node(a, b) ? rates[node_of(a)] : rates.back()});
    }
  return links;
}

}  // namespace

std::vector<LinkProfile> measure_links(const LinkBenchOptions& options, Communicator& world) {
  if (world.size() == 1) return {};
  return LinkBench(options, world).run();
}

}  // namespace kente
