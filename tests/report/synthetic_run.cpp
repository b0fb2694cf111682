#include "tests/report/synthetic_run.h"

#include <cmath>

#include "csrc/base/rng.h"

namespace kente {
namespace {

double noise(int64_t step) {
  return random_normal(7, RngUse::kTest, 0, static_cast<uint64_t>(step));
}

double loss_at(double progress) { return 2.9 + 6.1 * std::exp(-6 * progress); }

StepRecord synthetic_step(int64_t step, int64_t steps) {
  StepRecord record;
  const double progress = static_cast<double>(step) / static_cast<double>(steps);
  record.step = step;
  record.tokens = 16384;
  record.loss = static_cast<float>(loss_at(progress) + 0.06 * noise(step));
  record.grad_norm = 0.8 + 0.1 * noise(step);
  record.lr = 3e-3 * (1 - progress);
  record.seconds = 1.7 + 0.05 * noise(step);
  record.tokens_per_second = 16384 / record.seconds;
  record.epoch = progress;
  record.first_sample = (step - 1) * 64;
  record.last_sample = step * 64 - 1;
  return record;
}

void add_lane(std::vector<TimelineSpan>& timeline, int rank, int micro_batches, double offset) {
  double at = 0;
  const auto add = [&](const std::string& label, TimelineSpan::Kind kind, double seconds) {
    timeline.push_back({rank, label, kind, at, at + seconds});
    at += seconds;
  };
  if (offset > 0) add("wait", TimelineSpan::kWait, offset);
  for (int m = 0; m < micro_batches; ++m) {
    add("F" + std::to_string(m), TimelineSpan::kCompute, 0.055);
    add("send", TimelineSpan::kComm, 0.004);
  }
  add("wait", TimelineSpan::kWait, 0.12 - offset);
  for (int m = 0; m < micro_batches; ++m) {
    add("BI" + std::to_string(m), TimelineSpan::kCompute, 0.05);
    add("BW" + std::to_string(m), TimelineSpan::kCompute, 0.045);
    add("send", TimelineSpan::kComm, 0.004);
  }
  add("reduce", TimelineSpan::kComm, 0.06);
  add("step", TimelineSpan::kCompute, 0.03);
}

}  // namespace

Environment synthetic_environment() {
  Environment environment;
  environment.name = "quickstart";
  environment.description = "A small GPT that learns the handbook in six languages.";
  environment.versions = {{"kente", "0.1.0"}, {"libtorch", "2.11.0"}, {"Open MPI", "4.1.4"}};
  environment.cpu = "Some processor at 2.0 GHz";
  environment.cores = 2;
  environment.memory_bytes = int64_t{16} << 30;
  environment.hosts = {"node-a", "node-b"};
  environment.parameters = 1943296;
  const auto source = [](const char* id, const char* title, const char* language, double trigram) {
    Environment::Source s;
    s.id = id;
    s.title = title;
    s.licence = "GPL-2+ or CC-BY-SA-3.0";
    s.language = language;
    s.lab = "example-lab";
    s.digest = "3b7c1f0e9d8a77665544332211009988";
    s.tokens = 812345;
    s.weight = 1;
    s.bytes_per_token = 3.4;
    s.byte_trigram_bits_per_byte = trigram;
    return s;
  };
  environment.sources = {source("handbook-de", "The handbook, German", "de", 2.91),
                         source("handbook-ru", "The handbook, Russian", "ru", 2.02),
                         source("handbook-ja", "The handbook, Japanese", "ja", 2.44)};
  const auto stage = [](int64_t rank, int64_t first, int64_t last) {
    return Environment::Stage{rank, {{first, last}}, "f32", "none"};
  };
  environment.mesh = {{3, 3, {stage(0, 0, 1), stage(1, 2, 4), stage(2, 5, 7)}},
                      {1, 1, {stage(3, 0, 7)}}};
  return environment;
}

RunRecord synthetic_run(int64_t steps) {
  RunRecord run;
  run.directory = "runs/quickstart";
  for (int64_t step = 1; step <= steps; ++step) run.steps.push_back(synthetic_step(step, steps));
  for (int64_t tenth = 1; tenth <= 10 && steps >= 10; ++tenth) {
    const double loss = loss_at(static_cast<double>(tenth) / 10) + 0.08;
    const double bits = loss / 3.4 / std::log(2.0);
    run.validations.push_back({steps * tenth / 10,
                               loss,
                               bits,
                               {{"handbook-de", loss, bits * 1.04, 9000},
                                {"handbook-ru", loss - 0.1, bits * 0.93, 8000},
                                {"handbook-ja", loss + 0.2, bits * 1.1, 7000}}});
  }
  // A plan that expected rank 1 to be faster than it is.
  for (StepRecord& step : run.steps) {
    step.predicted_seconds = 1.5;
    if (step.step % 10 != 0) continue;
    for (int rank = 0; rank < 4; ++rank) {
      const PhaseRecord predicted{.forward = 0.4,
                                  .backward_input = 0.42,
                                  .backward_weight = 0.38,
                                  .optimizer = 0.05,
                                  .wait = 0.25};
      PhaseRecord measured = predicted;
      if (rank == 1) measured.forward = 0.6;
      step.ranks.push_back({.rank = rank,
                            .device = rank == 1 ? "old-laptop" : "rank-" + std::to_string(rank),
                            .measured = measured,
                            .predicted = predicted});
    }
  }
  run.events = {"12:03:55 start: 4 ranks, 2 replicas", "12:04:40 checkpoint step 40: 23 MB"};
  for (int rank = 0; rank < 3; ++rank) add_lane(run.timeline, rank, 6, 0.05 * rank);
  add_lane(run.timeline, 3, 5, 0);
  for (int rank = 0; rank < 2; ++rank)
    run.ops.push_back({.rank = rank,
                       .seconds = 1.0,
                       .communication = 0.05,
                       .waiting = 0.15,
                       .roof = {.flops_per_second = 100e9, .bytes_per_second = 10e9},
                       .ops = {{"linear", 48, 0.5, 40e9, 0.3e9},
                               {"attention", 12, 0.1, 2e9, 0.1e9},
                               {"cross-entropy", 4, 0.1, 0, 0.8e9}}});
  run.recipe_text = "name: \"quickstart\"\nmodel { family: GPT2 hidden_size: 128 }\n";
  run.plan_text = "replicas { stages { ranks: 0 layers { first: 0 last: 1 } } share: 3 }\n";
  run.environment_json = to_json(synthetic_environment());
  return run;
}

}  // namespace kente
