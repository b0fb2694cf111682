#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace kente {

/// environment.json of a run, version 1: who ran what where. Written at every start. Every key may
/// be missing; unknown keys are ignored.
///   {"kente_environment": 1, "name": "quickstart", "description": "...",
///    "versions": {"kente": "0.1.0", "libtorch": "2.11.0", ...},
///    "machine": {"cpu": "...", "cores": 2, "memory_bytes": N, "hosts": ["a", "b"],
///                "gemm_flops_per_second": 2.1e11},
///    "parameters": N,
///    "sources": [{"id", "title", "licence", "language", "lab", "digest", "tokens", "weight",
///                 "bytes_per_token", "byte_trigram_bits_per_byte"}],
///    "mesh": [{"replica": 0, "share": 3, "micro_batches": 12,
///              "stages": [{"rank": 0, "layers": [[0, 3]], "dtype": "f32", "recompute": "none",
///                          "gpu": "NVIDIA H200"}]}]}
/// layers are first and last, both included; 0 is the embedding, the highest one of the mesh the
/// head.
struct Environment {
  struct Source {
    std::string id, title, licence, language, lab, digest;
    int64_t tokens = 0;
    double weight = 0;
    double bytes_per_token = 0;             // of the held-back text; 0: not known
    double byte_trigram_bits_per_byte = 0;  // 0: not made
  };
  struct Stage {
    int64_t rank = 0;
    std::vector<std::pair<int64_t, int64_t>> layers;
    std::string dtype, recompute;
    std::string gpu = {};  // its name; empty: a CPU
  };
  struct Replica {
    int64_t share = 0, micro_batches = 0;
    std::vector<Stage> stages;
  };

  std::string name, description;
  std::vector<std::pair<std::string, std::string>> versions;
  std::string cpu;
  int64_t cores = 0, memory_bytes = 0;
  std::vector<std::string> hosts;
  double gemm_flops_per_second = 0;  // all ranks at once; 0: not measured
  int64_t parameters = 0;
  std::vector<Source> sources;
  std::vector<Replica> mesh;
};

/// text is hostile: FormatError{file} for duplicate keys, depth, wrong types, a newer version.
/// Empty text gives an empty environment.
Environment parse_environment(const std::string& text, const std::string& file);
std::string to_json(const Environment& environment);

}  // namespace kente
