#include "csrc/train/pacer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "csrc/base/errors.h"
#include "csrc/base/rng.h"

namespace kente {
namespace {

// Who was behind by more when an action ended has lost the time.
constexpr int64_t kMostMadeUpNs = 2'000'000;

double pass_of(const ImitatedLayer& layer, LayerPass pass) {
  switch (pass) {
    case LayerPass::kForward:
      return layer.forward;
    case LayerPass::kLoss:
      return layer.loss;
    case LayerPass::kBackwardInput:
      return layer.backward_input;
    case LayerPass::kBackwardWeight:
      return layer.backward_weight;
  }
  throw InternalError("not a pass: " + std::to_string(static_cast<int>(pass)));
}

}  // namespace

Pacer::Pacer(Options options) : options_(std::move(options)), steps_(options_.steps) {}

double Pacer::seconds(const LayerOp& op) const {
  const ImitatedRank& device = options_.device;
  const ImitatedLayer& layer = op.layer == LayerKind::kEmbedding ? device.embedding
                               : op.layer == LayerKind::kBlock   ? device.block
                                                                 : device.head;
  double one = pass_of(layer, op.pass);
  if (op.recompute == Recompute::kFull) one += layer.forward;
  const double grains =
      static_cast<double>(op.samples) / static_cast<double>(options_.grain_samples);
  const double curve = device.fixed + (1 - device.fixed) * std::pow(grains, device.exponent);
  const double draw =
      random_uniform(options_.seed, RngUse::kImitation, static_cast<uint64_t>(options_.rank),
                     static_cast<uint64_t>(ops_));
  const double noise = 1 + device.noise * (2 * draw - 1);
  const int64_t since = steps_ - device.drift_after_steps;
  const bool drifted = device.drift_after_steps > 0 && since >= 0 &&
                       (device.drift_for_steps == 0 || since < device.drift_for_steps);
  return one / device.speed * curve * noise * (drifted ? device.drift_factor : 1);
}

void Pacer::begin() {
  behind_ns_ = std::min(behind_ns_, kMostMadeUpNs);
  target_ns_ = options_.clock.now() - behind_ns_;
}

void Pacer::layer(const LayerOp& op) {
  if (!options_.device.waits) return;
  const double take = seconds(op);
  ++ops_;
  imitated_seconds_ += take;
  target_ns_ += static_cast<int64_t>(take * 1e9);
  int64_t now = options_.clock.now();
  // Only what this pass added: having been behind before it is no fault of its own.
  late_seconds_ += static_cast<double>(std::max<int64_t>(0, now - target_ns_ - behind_ns_)) * 1e-9;
  while (now < target_ns_) {
    if (options_.progress) options_.progress();
    options_.clock.nap(target_ns_);
    now = options_.clock.now();
  }
  behind_ns_ = now - target_ns_;
}

double Pacer::late_share() const {
  return imitated_seconds_ > 0 ? late_seconds_ / imitated_seconds_ : 0;
}

}  // namespace kente
