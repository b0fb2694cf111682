#pragma once

#include <string>

#include "comm/communicator.h"
#include "csrc/plan/mesh.h"
#include "csrc/train/host_state.h"

namespace kente {

/// SHA-256 over the SHA-256 of every parameter group's f32 master, in group order: equal whatever
/// plan trained it. A collective.
std::string parameters_digest(Communicator& world, const Mesh& mesh, HostState& state,
                              const Deadline& deadline);

}  // namespace kente
