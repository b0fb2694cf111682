#include "csrc/measure/facts.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "csrc/base/clock.h"
#include "csrc/base/errors.h"
#include "csrc/base/hash.h"
#include "csrc/config/cluster.h"
#include "csrc/config/parse.h"
#include "csrc/train/gather.h"

namespace kente {
namespace {

constexpr int kFactsTag = 8;
constexpr int kTries = 5;

/// The offset of this rank's wall clock to rank 0's: of several answers the one that came fastest.
double clock_offset(Communicator& world, const Deadline& deadline) {
  double offset = 0;
  const auto move = [&](int64_t& value, int peer, bool out) {
    const BufferView view = {.data = &value, .count = 1, .dtype = DType::kI64};
    (out ? world.isend(view, peer, kFactsTag) : world.irecv(view, peer, kFactsTag))->wait(deadline);
  };
  for (int peer = 1; peer < world.size(); ++peer) {
    int64_t fastest = INT64_MAX;
    for (int i = 0; i < kTries; ++i) {
      int64_t asked = 0, answer = 0;
      if (world.rank() == 0) {
        move(asked, peer, false);
        answer = wall_clock_ms();
        move(answer, peer, true);
      } else if (world.rank() == peer) {
        const int64_t begin = now_ns();
        move(asked, 0, true);
        move(answer, 0, false);
        const int64_t took = now_ns() - begin;
        if (took >= fastest) continue;
        fastest = took;
        offset = static_cast<double>(wall_clock_ms() - answer) * 1e-3 -
                 static_cast<double>(took) * 0.5e-9;
      }
    }
  }
  return offset;
}

}  // namespace

std::string to_json(const RankFacts& facts) {
  const HostFacts& host = facts.host;
  const nlohmann::json json = {{"name", host.name},
                               {"cpu_vendor", host.cpu_vendor},
                               {"cpu_model", host.cpu_model},
                               {"instructions", host.instructions},
                               {"cores", host.cores},
                               {"memory_bytes", host.memory_bytes},
                               {"free_bytes", host.free_bytes},
                               {"own_bytes", host.own_bytes},
                               {"shm_bytes", host.shm_bytes},
                               {"interfaces", host.interfaces},
                               {"kind", facts.kind},
                               {"build", facts.build},
                               {"libtorch", facts.libtorch},
                               {"mpi", facts.mpi},
                               {"recipe_sha256", facts.recipe_sha256},
                               {"imitation", facts.imitation},
                               {"limits", facts.limits},
                               {"gpu", facts.gpu},
                               {"gpu_bytes", facts.gpu_bytes},
                               {"clock_offset_seconds", facts.clock_offset_seconds}};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

RankFacts parse_facts(std::string_view text) {
  RankFacts facts;
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    HostFacts& host = facts.host;
    json.at("name").get_to(host.name);
    json.at("cpu_vendor").get_to(host.cpu_vendor);
    json.at("cpu_model").get_to(host.cpu_model);
    json.at("instructions").get_to(host.instructions);
    json.at("cores").get_to(host.cores);
    json.at("memory_bytes").get_to(host.memory_bytes);
    json.at("free_bytes").get_to(host.free_bytes);
    json.at("own_bytes").get_to(host.own_bytes);
    json.at("shm_bytes").get_to(host.shm_bytes);
    json.at("interfaces").get_to(host.interfaces);
    json.at("kind").get_to(facts.kind);
    json.at("build").get_to(facts.build);
    json.at("libtorch").get_to(facts.libtorch);
    json.at("mpi").get_to(facts.mpi);
    json.at("recipe_sha256").get_to(facts.recipe_sha256);
    json.at("imitation").get_to(facts.imitation);
    json.at("limits").get_to(facts.limits);
    json.at("gpu").get_to(facts.gpu);
    json.at("gpu_bytes").get_to(facts.gpu_bytes);
    json.at("clock_offset_seconds").get_to(facts.clock_offset_seconds);
  } catch (const nlohmann::json::exception& wrong) {
    throw FormatError("a rank's facts", -1, wrong.what());
  }
  return facts;
}

std::vector<RankFacts> gather_facts(RankFacts own, Communicator& world, const Deadline& deadline) {
  own.clock_offset_seconds = clock_offset(world, deadline);
  std::vector<RankFacts> all;
  for (const std::string& text : all_gather_text(world, to_json(own), deadline))
    all.push_back(parse_facts(text));
  return all;
}

int64_t ranks_on_node(const std::vector<RankFacts>& ranks, size_t rank) {
  return std::count_if(ranks.begin(), ranks.end(), [&](const RankFacts& other) {
    return other.host.name == ranks.at(rank).host.name;
  });
}

int64_t ranks_on_gpu(const std::vector<RankFacts>& ranks, size_t rank) {
  const RankFacts& own = ranks.at(rank);
  return std::ranges::count_if(ranks, [&](const RankFacts& other) {
    return other.host.name == own.host.name && other.gpu == own.gpu;
  });
}

std::string types_of(const NumericsConfig& numerics) {
  std::string names;
  for (const DType dtype : numerics.allowed()) names += name_of(dtype);
  return names;
}

std::string machine_digest(const std::vector<RankFacts>& ranks, size_t rank, const Recipe& recipe) {
  // A one-device profile without times: measured layers as text.
  ClusterProfile layers;
  layers.measured = measured_layers(recipe);
  const RankFacts& facts = ranks.at(rank);
  const nlohmann::json key = {facts.host.name,
                              facts.host.cpu_model,
                              facts.host.instructions,
                              facts.host.cores,
                              facts.host.memory_bytes,
                              facts.build,
                              facts.libtorch,
                              facts.mpi,
                              facts.imitation,
                              facts.limits,
                              facts.gpu,
                              facts.gpu.empty() ? "" : facts.kind,
                              ranks_on_node(ranks, rank),
                              to_text(layers),
                              types_of(recipe.numerics)};
  return sha256_hex(key.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace kente
