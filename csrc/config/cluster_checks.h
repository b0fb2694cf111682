#pragma once

#include "csrc/config/cluster.h"
#include "csrc/config/text_document.h"

namespace kente::proto {
class Cluster;
}

namespace kente {

/// Throws UsageError, naming the place, for a profile whose numbers or names cannot be. Needs its
/// defaults filled in.
void validate(const proto::Cluster& cluster, const TextDocument& document);

/// What was measured must be what the recipe trains, field by field; else UsageError.
void check_measured(const MeasuredLayers& have, const Recipe& recipe, const TextDocument& document);

}  // namespace kente
