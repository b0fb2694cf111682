#pragma once

#include <functional>

#include "comm/communicator.h"

namespace kente {

/// Runs work once a rank, on a thread each; what a rank throws ends all and is rethrown.
void on_threads(int ranks, const std::function<void(Communicator& world)>& work);

}  // namespace kente
