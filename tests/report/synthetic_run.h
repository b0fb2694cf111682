#pragma once

#include <cstdint>

#include "csrc/report/environment.h"
#include "csrc/report/run_record.h"

namespace kente {

/// A run that looks like one: a falling loss with noise, validations every tenth of it, two
/// sources, two unlike replicas on four ranks, and a timeline of one step. A pure function of
/// steps.
RunRecord synthetic_run(int64_t steps);
Environment synthetic_environment();

}  // namespace kente
