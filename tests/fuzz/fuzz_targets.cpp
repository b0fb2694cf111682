#include "tests/fuzz/fuzz_targets.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "comm/control.h"
#include "csrc/base/errors.h"
#include "csrc/base/hash.h"
#include "csrc/ckpt/manifest.h"
#include "csrc/ckpt/safetensors.h"
#include "csrc/config/cluster.h"
#include "csrc/config/imitation.h"
#include "csrc/config/parse.h"
#include "csrc/data/manifest.h"
#include "csrc/data/token_stream.h"
#include "csrc/report/run_record.h"
#include "launch/hosts.h"
#include "tests/support/made_up_cluster.h"
#include "tests/support/small_recipes.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/token_files.h"

namespace kente {
namespace {

/// What a parser may answer: a value, or a refusal that is the bytes' fault.
bool taken(const std::function<void()>& parse) {
  try {
    parse();
  } catch (const Error& refusal) {
    if (exit_status(refusal) == ExitStatus::kBug) throw;
    return false;
  }
  return true;
}

const Recipe& recipe() {
  static const Recipe recipe = small_recipe(ModelFamily::kGpt2);
  return recipe;
}

/// For parsers that want a file. In memory, if there is a place for that.
class FileOf {
 public:
  FileOf(const std::string& name, std::string_view bytes) : path_(directory() + "/" + name) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  static const std::string& directory() {
    static const TemporaryDirectory directory;
    static const std::string path = directory.path();
    return path;
  }

 private:
  std::string path_;
};

std::string read_file(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

CheckpointManifest sample_manifest() {
  CheckpointManifest manifest;
  manifest.step = 12;
  manifest.run_id = "0123456789abcdef";
  manifest.recipe_sha256 = std::string(64, 'a');
  manifest.samples = 192;
  manifest.state = {{"guard", "x y"}};
  for (const bool piece : {false, true}) {
    Shard shard;
    shard.file = piece ? "rank-0001.safetensors" : "rank-0000.safetensors";
    shard.bytes = 120;
    shard.sha256 = std::string(64, 'b');
    shard.chunk_xxh3 = {7};
    StoredTensor tensor{.name = "w", .shape = {2, 3}, .offset = 96, .bytes = 24};
    if (piece) {
      tensor.name = "v@0";
      tensor.shape = {6};
      tensor.piece_of = PieceOf{.name = "v", .shape = {3, 4}, .first = 0};
    }
    shard.tensors = {tensor};
    manifest.add(std::move(shard));
  }
  return manifest;
}

std::string sample_safetensors() {
  std::vector<float> values(6, 1.0F);
  const NamedTensor tensor{.name = "w",
                           .shape = {2, 3},
                           .data = {.data = values.data(), .count = 6, .dtype = DType::kF32}};
  std::string file = lay_out_safetensors({tensor}).header;
  file.append(24, 'x');
  return file;
}

bool takes_safetensors(std::string_view bytes) {
  return taken([&] {
    const auto size = static_cast<int64_t>(bytes.size());
    const int64_t header = safetensors_header_bytes(bytes.substr(0, 8), size, "f");
    for (const StoredTensor& tensor :
         parse_safetensors_header(bytes.substr(0, static_cast<size_t>(header)), size, "f"))
      if (tensor.offset < header || tensor.bytes < 0 || tensor.offset + tensor.bytes > size)
        throw InternalError("a tensor outside of its file was taken");
  });
}

bool takes_checkpoint_manifest(std::string_view bytes) {
  const std::string text(bytes);
  // The digest inside keeps everything but itself out: the parts are read without it too.
  const bool whole = taken([&] { parse_manifest(text, "f"); });
  const bool shard = taken([&] { parse_shard(text, "f"); });
  const bool inventory = taken([&] { parse_inventory(text, "f"); });
  return whole || shard || inventory;
}

std::vector<std::string> checkpoint_manifest_seeds() {
  const CheckpointManifest manifest = sample_manifest();
  StepInventory inventory;
  inventory.step = 12;
  inventory.manifest = manifest;
  inventory.manifest_sha256 = digest_of(manifest);
  inventory.present = {"rank-0000.safetensors"};
  return {to_json(manifest), to_json(manifest.shards[0]), to_json(manifest.shards[1]),
          to_json(std::vector<StepInventory>{inventory})};
}

bool takes_recipe(std::string_view bytes) {
  return taken([&] {
    const Recipe parsed = parse_recipe(std::string(bytes), "f");
    if (parse_recipe(to_text(parsed), "f") != parsed)
      throw InternalError("a recipe's own text is another recipe");
  });
}

std::vector<std::string> recipe_seeds() {
  std::vector<std::string> seeds;
  for (const ModelFamily family : {ModelFamily::kGpt2, ModelFamily::kLlama, ModelFamily::kQwen2})
    seeds.push_back(to_text(small_recipe(family)));
  return seeds;
}

bool takes_plan(std::string_view bytes) {
  return taken([&] { parse_plan(std::string(bytes), "f", recipe()); });
}

std::vector<std::string> plan_seeds() {
  Plan sharded = plan_from_borders({{0, 3, 6}, {0, 4, 6}}, {9, 7});
  sharded.shard_optimizer = true;
  return {to_text(plan_from_borders({{0, 6}}, {16})), to_text(sharded)};
}

bool takes_cluster(std::string_view bytes) {
  return taken([&] {
    const ClusterProfile parsed = parse_cluster(std::string(bytes), "f");
    parse_cluster(to_text(parsed), "f");
  });
}

std::vector<std::string> cluster_seeds() {
  return {to_text(made_up_cluster(recipe(), {.speeds = {1, 2, 4}}))};
}

bool takes_imitation(std::string_view bytes) {
  return taken([&] { parse_imitation(std::string(bytes), "f"); });
}

std::vector<std::string> imitation_seeds() {
  ImitatedRank rank;
  rank.waits = true;
  rank.embedding = rank.block =
      rank.head = {.forward = 1e-3, .backward_input = 1e-3, .backward_weight = 1e-3};
  return {to_text(Imitation{.ranks = {rank, ImitatedRank()}})};
}

/// The index comes first: 4 bytes of its length, then it, then the tokens.
bool takes_token_files(std::string_view bytes) {
  if (bytes.size() < 4) return false;
  const auto at = [&](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(bytes[i])); };
  const size_t index = std::min(bytes.size() - 4, at(0) | at(1) << 8 | at(2) << 16 | at(3) << 24);
  const FileOf idx("t.idx", bytes.substr(4, index)), bin("t.bin", bytes.substr(4 + index));
  return taken([&] {
    const TokenStream stream(FileOf::directory() + "/t");
    for (int64_t document = 0; document < stream.documents(); ++document)
      if (stream.document_end(document) > stream.tokens())
        throw InternalError("a document that ends outside was taken");
    std::vector<int32_t> tokens(static_cast<size_t>(stream.tokens()));
    stream.copy(0, stream.tokens(), tokens.data());
  });
}

std::vector<std::string> token_file_seeds() {
  const TemporaryDirectory directory;
  write_source(directory.path(), "t", learnable_documents(1, 5, 8, 96),
               learnable_documents(2, 2, 8, 96), 96);
  std::vector<std::string> seeds;
  for (const char* part : {"t.train", "t.validation"}) {
    const std::string idx = read_file(directory / (std::string(part) + ".idx"));
    std::string seed;
    for (int byte = 0; byte < 4; ++byte) seed += static_cast<char>(idx.size() >> (8 * byte) & 0xff);
    seeds.push_back(seed + idx + read_file(directory / (std::string(part) + ".bin")));
  }
  return seeds;
}

bool takes_source_manifest(std::string_view bytes) {
  const FileOf file("s.manifest.json", bytes);
  return taken([&] { read_manifest(FileOf::directory(), "s"); });
}

std::vector<std::string> source_manifest_seeds() {
  const TemporaryDirectory directory;
  write_source(directory.path(), "s", learnable_documents(1, 5, 8, 96),
               learnable_documents(2, 2, 8, 96), 96);
  return {read_file(directory / "s.manifest.json")};
}

/// All frames that arrived; a connection is closed at the first that is refused.
bool takes_control(std::string_view bytes) {
  std::string received(bytes);
  int frames = 0;
  const bool ok = taken([&] {
    while (take_frame(received)) ++frames;
  });
  return ok && frames > 0;
}

std::vector<std::string> control_seeds() {
  Hello hello;
  hello.token = std::string(64, 'c');
  hello.rank = 1;
  hello.size = 4;
  hello.pid = 77;
  hello.host = "node-1";
  ProgressBoard::Entry entry;
  entry.step = 5;
  entry.phase = Phase::kForward;
  entry.micro_batch = 2;
  return {encode_frame(hello) + encode_frame(entry) + encode_frame(Goodbye{.status = 3}),
          encode_frame(Order::kStop)};
}

bool takes_hostfile(std::string_view bytes) {
  return taken([&] { parse_hostfile(std::string(bytes), "f"); });
}

std::vector<std::string> hostfile_seeds() { return {"a slots=2\n# c\nb.example max_slots=4\n"}; }

/// The files of a run that a report is made of: its steps in the first line. Torn lines are left
/// out, and told.
bool takes_run_record(std::string_view bytes) {
  const size_t first = std::min(bytes.find('\n'), bytes.size());
  const FileOf steps("run.jsonl", bytes.substr(0, first)),
      events("events.jsonl", bytes.substr(first));
  bool torn = false;
  const bool read = taken([&] {
    const RunRecord run = read_run(*posix_file_system(), FileOf::directory());
    for (const std::string& event : run.events)
      torn = torn || event.find("torn lines") != std::string::npos;
    report_text(run);
    report_html(run);
    report_json(run);
  });
  return read && !torn;
}

std::vector<std::string> run_record_seeds() {
  StepRecord step;
  step.step = 3;
  step.ranks.push_back({.rank = 1, .device = "a", .measured = {}, .predicted = {}});
  return {to_json(step) + "\n" + event_json("resume", 3, "after <b>a</b> crash") + "\n"};
}

bool takes_timeline(std::string_view bytes) {
  return taken([&] { parse_timeline(std::string(bytes), "f"); });
}

std::vector<std::string> timeline_seeds() {
  return {to_json(std::vector<TimelineSpan>{
      {.rank = 1, .label = "F0.0", .kind = TimelineSpan::kWait, .begin = 0, .end = 0.5}})};
}

}  // namespace

const std::vector<FuzzTarget>& fuzz_targets() {
  static const std::vector<FuzzTarget> targets = {
      {"safetensors", takes_safetensors,
       [] { return std::vector<std::string>{sample_safetensors()}; }},
      {"checkpoint_manifest", takes_checkpoint_manifest, checkpoint_manifest_seeds},
      {"recipe", takes_recipe, recipe_seeds},
      {"plan", takes_plan, plan_seeds},
      {"cluster", takes_cluster, cluster_seeds},
      {"imitation", takes_imitation, imitation_seeds},
      {"token_files", takes_token_files, token_file_seeds},
      {"source_manifest", takes_source_manifest, source_manifest_seeds},
      {"control", takes_control, control_seeds},
      {"hostfile", takes_hostfile, hostfile_seeds},
      {"run_record", takes_run_record, run_record_seeds},
      {"timeline", takes_timeline, timeline_seeds},
  };
  return targets;
}

const FuzzTarget& fuzz_target(std::string_view name) {
  for (const FuzzTarget& target : fuzz_targets())
    if (name == target.name) return target;
  throw UsageError(std::string(name) + ": no such target");
}

}  // namespace kente
