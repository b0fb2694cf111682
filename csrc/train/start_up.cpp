#include "csrc/train/start_up.h"

#include "csrc/base/errors.h"
#include "csrc/ckpt/checkpoint.h"
#include "csrc/config/parse.h"
#include "csrc/data/loader.h"
#include "csrc/plan/mesh.h"
#include "csrc/train/gather.h"

namespace kente {

Recipe resolve_sources(const TrainOptions& options, Communicator& world, const Deadline& deadline) {
  const Mesh mesh = make_mesh(options.recipe, options.plan, world.size());
  const int reader = mesh.replicas.front().chunks.front().rank;
  Recipe recipe = options.recipe;
  together(
      world,
      [&] {
        if (world.rank() == reader) recipe = with_source_digests(recipe, options.data_directory);
      },
      deadline);
  const std::string mine = world.rank() == reader ? to_text(recipe) : "";
  const auto all = all_gather_text(world, mine, deadline);
  return parse_recipe(all[static_cast<size_t>(reader)], "the resolved recipe");
}

void check_run_directory(const TrainOptions& options, FileSystem& files) {
  if (options.start == StartMode::kFresh && files.exists(options.run_directory + "/run.jsonl"))
    throw UsageError(options.run_directory +
                     ": holds a run already: continue it with --resume, or name another --out");
  for (const std::string& copy : options.checkpoint_to)
    if (options.start == StartMode::kFresh && !list_checkpoints(files, copy + "/ckpt").empty())
      throw UsageError(copy +
                       ": --checkpoint-to: holds another run's checkpoints: name another "
                       "directory, or continue that run with --resume");
}

}  // namespace kente
