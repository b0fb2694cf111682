#pragma once

#include <map>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "csrc/nn/ops/timed_ops.h"
#include "csrc/report/op_profile.h"
#include "csrc/report/run_record.h"

namespace kente {

/// What a rank's machine does at most, with all ranks at work.
struct Ceilings {
  double flops_per_second = 0;
  double bytes_per_second = 0;
};

/// A rank's step: what its operations came to, and, from the step's spans, what it was busy with
/// besides.
OpProfile op_profile(int rank, const std::map<std::string, OpTotals>& totals,
                     const std::vector<TimelineSpan>& spans, const Ceilings& ceilings);

/// Everybody's, by rank. A collective.
std::vector<OpProfile> gather_profiles(const OpProfile& mine, Communicator& world,
                                       const Deadline& deadline);

}  // namespace kente
