#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "csrc/config/recipe.h"
#include "csrc/data/manifest.h"
#include "csrc/data/token_stream.h"

namespace kente {

/// One part of a source, open and verified.
struct OpenSource {
  SourceManifest manifest;
  TokenStream tokens;
};

enum class SourcePart { kTrain, kValidation };

/// Opens every source of the recipe, in its order. Sizes and index are checked each time; digests,
/// token ids and document ends in full once per state of the files, which directory/.verified
/// remembers by size, times and inode. Throws UsageError naming a source that is missing or not the
/// recipe's, FormatError naming a damaged file.
std::vector<OpenSource> open_sources(const Recipe& recipe, const std::string& directory,
                                     SourcePart part);

}  // namespace kente
