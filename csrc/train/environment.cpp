#include "csrc/train/environment.h"

#include <torch/headeronly/version.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <set>
#include <thread>

#include "csrc/base/errors.h"
#include "csrc/config/model_layout.h"
#include "csrc/config/parse.h"
#include "csrc/report/environment.h"
#include "csrc/train/gather.h"

namespace kente {
namespace {

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

/// The processor's name as the kernel gives it; empty where it gives none.
std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) {
      const size_t colon = line.find(": ");
      return colon == std::string::npos ? "" : line.substr(colon + 2);
    }
  return "";
}

int64_t memory_bytes() { return int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGE_SIZE); }

std::vector<Environment::Replica> describe_mesh(const Plan& plan, const Mesh& mesh,
                                                const std::vector<std::string>& gpus) {
  std::vector<Environment::Replica> replicas;
  for (size_t r = 0; r < plan.replicas.size(); ++r) {
    Environment::Replica replica;
    replica.share = plan.replicas[r].share;
    replica.micro_batches = static_cast<int64_t>(mesh.replicas[r].micro_batches.size());
    for (const StagePlan& stage : plan.replicas[r].stages) {
      Environment::Stage shown;
      shown.rank = stage.ranks.front();
      for (const LayerRange& range : stage.layers)
        shown.layers.emplace_back(range.first, range.last);
      shown.gpu = gpus[static_cast<size_t>(stage.ranks.front())];
      shown.dtype = name_of(stage.compute);
      shown.recompute = stage.recompute == Recompute::kFull ? "full" : "none";
      replica.stages.push_back(std::move(shown));
    }
    replicas.push_back(std::move(replica));
  }
  return replicas;
}

std::vector<Environment::Source> describe_sources(const Recipe& recipe, const TrainingData& data) {
  std::vector<Environment::Source> sources;
  for (size_t i = 0; i < data.manifests().size(); ++i) {
    const SourceManifest& m = data.manifests()[i];
    Environment::Source source{.id = m.id,
                               .title = m.title,
                               .licence = m.licence,
                               .language = m.language,
                               .lab = m.lab,
                               .digest = m.digest,
                               .tokens = m.train.tokens,
                               .weight = recipe.data.sources[i].weight,
                               .byte_trigram_bits_per_byte = m.byte_trigram_bits_per_byte};
    if (m.validation.tokens > 0)
      source.bytes_per_token =
          static_cast<double>(m.validation.text_bytes) / static_cast<double>(m.validation.tokens);
    sources.push_back(std::move(source));
  }
  return sources;
}

}  // namespace

void agree_on_everything(const TrainOptions& options, Communicator& world,
                         const Deadline& deadline) {
  const std::array<std::pair<const char*, std::string>, 4> facts = {{
      {"build", options.build_id},
      {"libtorch version", TORCH_VERSION},
      {"recipe", to_text(options.recipe)},
      {"plan", to_text(options.plan)},
  }};
  for (const auto& [what, value] : facts) {
    const std::vector<std::string> all = all_gather_text(world, value, deadline);
    for (size_t rank = 1; rank < all.size(); ++rank)
      if (all[rank] != all[0])
        throw UsageError(std::string(what) + " of rank " + std::to_string(rank) +
                         " differs from rank 0's: start every rank with the same one");
  }
}

Environment describe_environment(const Recipe& recipe, const Mesh& mesh,
                                 const TrainOptions& options, Communicator& world,
                                 const TrainingData* data, const Deadline& deadline) {
  const std::vector<std::string> names = all_gather_text(world, host_name(), deadline);
  const std::set<std::string> hosts(names.begin(), names.end());
  Environment environment;
  environment.name = recipe.name;
  environment.description = recipe.description;
  environment.versions = {{"kente", KENTE_VERSION},
                          {"build", options.build_id},
                          {"libtorch", TORCH_VERSION},
                          {"compiler", __VERSION__}};
  environment.cpu = cpu_name();
  environment.cores = std::thread::hardware_concurrency();
  environment.memory_bytes = memory_bytes();
  environment.hosts.assign(hosts.begin(), hosts.end());
  environment.parameters = parameter_count(recipe.model);
  environment.mesh =
      describe_mesh(options.plan, mesh, all_gather_text(world, options.device, deadline));
  // Rank 0 may be a later stage that reads no data: the list comes from a rank that does.
  Environment part;
  if (data) part.sources = describe_sources(recipe, *data);
  for (const std::string& text : all_gather_text(world, to_json(part), deadline)) {
    environment.sources = parse_environment(text, "a rank's sources").sources;
    if (!environment.sources.empty()) break;
  }
  return environment;
}

DType compute_dtype(const Plan& plan, const Mesh& mesh, int rank) {
  const int replica = mesh.replica_of(rank);
  if (replica < 0) return DType::kF32;
  for (const StagePlan& stage : plan.replicas[static_cast<size_t>(replica)].stages)
    if (stage.ranks.front() == rank) return stage.compute;
  throw InternalError("rank " + std::to_string(rank) + " has no stage");
}

}  // namespace kente
