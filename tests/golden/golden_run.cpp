#include "tests/golden/golden_run.h"

#include <cstring>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "csrc/base/file_system.h"

namespace kente {
namespace {

using nlohmann::json;

struct GoldenFile {
  json header;
  std::string bytes;
  size_t data = 0;  // where tensor data starts

  explicit GoldenFile(const std::string& path) : bytes(read_text_file(path, 4 << 20)) {
    uint64_t header_bytes = 0;
    if (bytes.size() < 8) throw std::runtime_error(path + ": too short");
    std::memcpy(&header_bytes, bytes.data(), 8);
    if (header_bytes > bytes.size() - 8) throw std::runtime_error(path + ": header length");
    data = 8 + header_bytes;
    header = json::parse(bytes.substr(8, header_bytes));
    if (metadata("kente_golden") != 1) throw std::runtime_error(path + ": version");
  }

  template <typename T>
  std::vector<T> read(const std::string& name, const char* dtype) const {
    const json& entry = header.at(name);
    if (entry.at("dtype") != dtype) throw std::runtime_error(name + ": not " + dtype);
    const auto begin = entry.at("data_offsets").at(0).get<size_t>();
    const auto end = entry.at("data_offsets").at(1).get<size_t>();
    if (begin > end || data + end > bytes.size()) throw std::runtime_error(name + ": offsets");
    std::vector<T> values((end - begin) / sizeof(T));
    std::memcpy(values.data(), bytes.data() + data + begin, end - begin);
    return values;
  }
  json metadata(const char* key) const {
    return json::parse(header.at("__metadata__").at(key).get<std::string>());
  }
};

ModelConfig model_of(ModelFamily family, const json& fields) {
  ModelConfig model;
  model.family = family;
  model.vocab_size = fields.at("vocab_size");
  model.hidden_size = fields.at("hidden_size");
  model.intermediate_size = fields.at("intermediate_size");
  model.num_hidden_layers = fields.at("num_hidden_layers");
  model.num_attention_heads = fields.at("num_attention_heads");
  model.num_key_value_heads = fields.at("num_key_value_heads");
  model.max_position_embeddings = fields.at("max_position_embeddings");
  model.norm_epsilon = fields.at("norm_epsilon");
  model.rope_theta = fields.at("rope_theta");
  model.tie_word_embeddings = fields.at("tie_word_embeddings");
  model.initializer_range = fields.at("initializer_range");
  return model;
}

OptimizerConfig optimizer_of(const json& fields) {
  OptimizerConfig optimizer;
  optimizer.learning_rate = fields.at("learning_rate");
  optimizer.beta1 = fields.at("beta1");
  optimizer.beta2 = fields.at("beta2");
  optimizer.epsilon = fields.at("epsilon");
  optimizer.weight_decay = fields.at("weight_decay");
  optimizer.clip_norm = fields.at("clip_norm");
  return optimizer;
}

std::string file_name(ModelFamily family) {
  switch (family) {
    case ModelFamily::kGpt2:
      return "gpt2.safetensors";
    case ModelFamily::kLlama:
      return "llama.safetensors";
    case ModelFamily::kQwen2:
      return "qwen2.safetensors";
  }
  throw std::runtime_error("no such family");
}

}  // namespace

GoldenRun read_golden_run(ModelFamily family) {
  const GoldenFile file(std::string(KENTE_SOURCE_DIR) + "/tests/golden/" + file_name(family));
  GoldenRun run;
  run.model = model_of(family, file.metadata("model"));
  run.optimizer = optimizer_of(file.metadata("optimizer"));
  const std::string prefix = "weights.";
  for (const auto& [name, entry] : file.header.items())
    if (name.starts_with(prefix))
      run.weights[name.substr(prefix.size())] = file.read<float>(name, "F32");
  run.tokens = file.read<int32_t>("tokens", "I32");
  run.first_logits = file.read<float>("logits", "F32");
  run.losses = file.read<double>("losses", "F64");
  run.grad_norms = file.read<double>("grad_norms", "F64");
  const json& shape = file.header.at("tokens").at("shape");
  run.steps = shape.at(0);
  run.samples = shape.at(1);
  run.length = shape.at(2).get<int64_t>() - 1;
  return run;
}

MicroBatch GoldenRun::batch(int64_t step, int64_t first, int64_t count) const {
  MicroBatch batch = MicroBatch::zeros(count, length);
  for (int64_t sample = 0; sample < count; ++sample) {
    const int32_t* row = tokens.data() + (step * samples + first + sample) * (length + 1);
    for (int64_t t = 0; t < length; ++t) {
      const int64_t at = sample * length + t;
      batch.plane(MicroBatch::kTokens)[at] = row[t];
      batch.plane(MicroBatch::kTargets)[at] = row[t + 1];
      batch.plane(MicroBatch::kLossMask)[at] = 1;
      batch.plane(MicroBatch::kPositions)[at] = static_cast<int32_t>(t);
    }
  }
  return batch;
}

}  // namespace kente
