#pragma once

#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace kente {

/// Communicators of ranks that are threads of this process, entry r for rank r. Messages have no
/// buffers: a send is complete once its receive was posted. Reductions add in rank order. Ranks
/// that disagree on a collective or on a message's size all get an InternalError. abort() makes
/// every wait of every rank throw PeerError, on communicators made by split() too.
std::vector<std::unique_ptr<Communicator>> make_local(int ranks);

/// The only rank of a run without mpirun.
std::unique_ptr<Communicator> make_single();

}  // namespace kente
