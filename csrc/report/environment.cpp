#include "csrc/report/environment.h"

#include <algorithm>

#include "csrc/base/errors.h"
#include "csrc/report/json_fields.h"

namespace kente {
namespace {

using Json = nlohmann::json;
constexpr int64_t kVersion = 1;

Environment::Source read_source(const Json& json) {
  Environment::Source source;
  source.id = text_at(json, "id");
  source.title = text_at(json, "title");
  source.licence = text_at(json, "licence");
  source.language = text_at(json, "language");
  source.lab = text_at(json, "lab");
  source.digest = text_at(json, "digest");
  source.tokens = integer_at(json, "tokens");
  source.weight = number_at(json, "weight");
  source.bytes_per_token = number_at(json, "bytes_per_token");
  source.byte_trigram_bits_per_byte = number_at(json, "byte_trigram_bits_per_byte");
  return source;
}

Environment::Replica read_replica(const Json& json) {
  Environment::Replica replica;
  replica.share = integer_at(json, "share");
  replica.micro_batches = integer_at(json, "micro_batches");
  for (const Json& entry : array_at(json, "stages")) {
    if (!entry.is_object()) continue;
    Environment::Stage stage;
    stage.rank = integer_at(entry, "rank");
    stage.dtype = text_at(entry, "dtype");
    stage.recompute = text_at(entry, "recompute");
    stage.gpu = text_at(entry, "gpu");
    for (const Json& range : array_at(entry, "layers"))
      if (range.is_array() && range.size() == 2 && range[0].is_number_integer() &&
          range[1].is_number_integer())
        stage.layers.emplace_back(range[0].get<int64_t>(), range[1].get<int64_t>());
    replica.stages.push_back(std::move(stage));
  }
  return replica;
}

void read_machine(const Json& json, Environment& environment) {
  environment.cpu = text_at(json, "cpu");
  environment.cores = integer_at(json, "cores");
  environment.memory_bytes = integer_at(json, "memory_bytes");
  environment.gemm_flops_per_second = number_at(json, "gemm_flops_per_second");
  for (const Json& host : array_at(json, "hosts"))
    if (host.is_string()) environment.hosts.push_back(host.get<std::string>());
}

}  // namespace

Environment parse_environment(const std::string& text, const std::string& file) {
  Environment environment;
  if (text.empty()) return environment;
  const std::optional<Json> json = parse_record(text);
  if (!json || !json->is_object())
    throw FormatError(file, -1, "not a JSON object, nested too deeply, or a key is given twice");
  if (integer_at(*json, "kente_environment") > kVersion)
    throw FormatError(file, -1, "written by a newer kente: this build reads version 1");
  environment.name = text_at(*json, "name");
  environment.description = text_at(*json, "description");
  environment.parameters = integer_at(*json, "parameters");
  if (const auto versions = json->find("versions");
      versions != json->end() && versions->is_object())
    for (const auto& entry : versions->items())
      if (entry.value().is_string())
        environment.versions.emplace_back(entry.key(), entry.value().get<std::string>());
  if (const auto machine = json->find("machine"); machine != json->end() && machine->is_object())
    read_machine(*machine, environment);
  for (const Json& source : array_at(*json, "sources"))
    if (source.is_object()) environment.sources.push_back(read_source(source));
  for (const Json& replica : array_at(*json, "mesh"))
    if (replica.is_object()) environment.mesh.push_back(read_replica(replica));
  return environment;
}

std::string to_json(const Environment& environment) {
  Json sources = Json::array(), mesh = Json::array(), versions = Json::object();
  for (const auto& [name, version] : environment.versions) versions[name] = version;
  for (const Environment::Source& s : environment.sources)
    sources.push_back({{"id", s.id},
                       {"title", s.title},
                       {"licence", s.licence},
                       {"language", s.language},
                       {"lab", s.lab},
                       {"digest", s.digest},
                       {"tokens", s.tokens},
                       {"weight", s.weight},
                       {"bytes_per_token", s.bytes_per_token},
                       {"byte_trigram_bits_per_byte", s.byte_trigram_bits_per_byte}});
  for (size_t r = 0; r < environment.mesh.size(); ++r) {
    const Environment::Replica& replica = environment.mesh[r];
    Json stages = Json::array();
    for (const Environment::Stage& stage : replica.stages) {
      Json layers = Json::array();
      for (const auto& [first, last] : stage.layers) layers.push_back(Json::array({first, last}));
      stages.push_back({{"rank", stage.rank},
                        {"layers", layers},
                        {"dtype", stage.dtype},
                        {"recompute", stage.recompute}});
      if (!stage.gpu.empty()) stages.back()["gpu"] = stage.gpu;
    }
    mesh.push_back({{"replica", r},
                    {"share", replica.share},
                    {"micro_batches", replica.micro_batches},
                    {"stages", stages}});
  }
  const Json machine = {{"cpu", environment.cpu},
                        {"cores", environment.cores},
                        {"memory_bytes", environment.memory_bytes},
                        {"hosts", environment.hosts},
                        {"gemm_flops_per_second", environment.gemm_flops_per_second}};
  const Json json = {{"kente_environment", kVersion},
                     {"name", environment.name},
                     {"description", environment.description},
                     {"versions", versions},
                     {"machine", machine},
                     {"parameters", environment.parameters},
                     {"sources", sources},
                     {"mesh", mesh}};
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace kente
