#pragma once

#include <cstdint>

#include "csrc/config/plan.h"
#include "csrc/config/recipe.h"
#include "csrc/report/run_record.h"
#include "csrc/train/step.h"

namespace kente {

/// A step's line in run.jsonl, without what ranks measured and the epoch. ceiling_flops: FLOP/s of
/// all ranks together. data_step: whose data it used.
StepRecord step_record(const Recipe& recipe, const Plan& plan, const StepReport& report,
                       double ceiling_flops, int64_t data_step);

}  // namespace kente
