#include "csrc/train/op_times.h"

#include <algorithm>

#include "csrc/train/gather.h"

namespace kente {

OpProfile op_profile(int rank, const std::map<std::string_view, OpTotals>& totals,
                     const std::vector<TimelineSpan>& spans, const Roof& roof) {
  OpProfile profile = {
      .rank = rank, .seconds = 0, .communication = 0, .waiting = 0, .roof = roof, .ops = {}};
  for (const TimelineSpan& span : spans) {
    profile.seconds = std::max(profile.seconds, span.end);  // the step's end is everybody's
    if (span.rank != rank) continue;
    if (span.kind == TimelineSpan::kComm) profile.communication += span.end - span.begin;
    if (span.kind == TimelineSpan::kWait) profile.waiting += span.end - span.begin;
  }
  for (const auto& [name, total] : totals)
    profile.ops.push_back({.name = std::string(name),
                           .calls = static_cast<double>(total.calls),
                           .seconds = total.seconds,
                           .flops = total.flops,
                           .bytes = total.bytes});
  std::stable_sort(profile.ops.begin(), profile.ops.end(),
                   [](const OpRecord& a, const OpRecord& b) { return a.seconds > b.seconds; });
  return profile;
}

std::vector<OpProfile> gather_profiles(const OpProfile& mine, Communicator& world,
                                       const Deadline& deadline) {
  std::vector<OpProfile> all;
  for (const std::string& text : all_gather_text(world, to_json(std::vector{mine}), deadline)) {
    const std::vector<OpProfile> one = parse_op_profiles(text, "a rank's operations");
    all.insert(all.end(), one.begin(), one.end());
  }
  return all;
}

}  // namespace kente
