#pragma once

#include <map>
#include <string_view>
#include <vector>

#include "comm/communicator.h"
#include "csrc/nn/ops/timed_ops.h"
#include "csrc/report/op_profile.h"
#include "csrc/report/run_record.h"

namespace kente {

/// A rank's step: what its operations came to, and, from the step's spans, what it was busy with
/// besides.
OpProfile op_profile(int rank, const std::map<std::string_view, OpTotals>& totals,
                     const std::vector<TimelineSpan>& spans, const Roof& roof);

/// Everybody's, by rank. A collective.
std::vector<OpProfile> gather_profiles(const OpProfile& mine, Communicator& world,
                                       const Deadline& deadline);

}  // namespace kente
