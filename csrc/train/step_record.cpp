#include "csrc/train/step_record.h"

#include <algorithm>

#include "csrc/train/environment.h"

namespace kente {

StepRecord step_record(const Recipe& recipe, const Plan& plan, const StepReport& report,
                       double ceiling_flops, int64_t data_step) {
  StepRecord line;
  line.step = report.step;
  line.tokens = report.tokens;
  line.loss = report.loss;
  line.grad_norm = report.grad_norm;
  line.lr = report.lr;
  line.seconds = report.seconds;
  line.tokens_per_second = static_cast<double>(report.tokens) / report.seconds;
  line.ceiling_fraction =
      model_flops_per_token(recipe) * line.tokens_per_second / std::max(ceiling_flops, 1.0);
  if (plan.prediction && plan.prediction->step_seconds > 0)
    line.predicted_seconds = plan.prediction->step_seconds;
  line.first_sample = (data_step - 1) * recipe.samples_per_step();
  line.last_sample = data_step * recipe.samples_per_step() - 1;
  return line;
}

}  // namespace kente
