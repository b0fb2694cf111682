#include "csrc/report/ops_page.h"

#include <algorithm>

#include "csrc/report/number_text.h"
#include "csrc/report/svg.h"

namespace kente {
namespace {

constexpr size_t kOpsShown = 60;
constexpr size_t kOpName = 80;

Roof mean_roof(const std::vector<OpProfile>& profiles) {
  Roof roof;
  for (const OpProfile& profile : profiles) {
    roof.flops_per_second += profile.roof.flops_per_second / static_cast<double>(profiles.size());
    roof.bytes_per_second += profile.roof.bytes_per_second / static_cast<double>(profiles.size());
  }
  return roof;
}

void add_row(ctemplate::TemplateDictionary& section, const OpSummary& summary,
             const OpSummary::Row& row) {
  const OpRecord& op = row.op;
  const double longest = std::max(summary.rows.front().op.seconds, 1e-12);
  const double seconds = std::max(op.seconds, 1e-12);
  const double limit = 100 * row.of_limit();
  ctemplate::TemplateDictionary* entry = section.AddSectionDictionary("ROW");
  entry->SetValue("NAME", op.name.substr(0, kOpName));
  entry->SetValue("CALLS", count_text(op.calls));
  entry->SetValue("TIME", fixed_text(1e3 * op.seconds, 1) + " ms");
  entry->SetValue("PART", fixed_text(100 * op.seconds / summary.seconds, 1) + " %");
  entry->SetValue("TIME_WIDTH", fixed_text(std::max(1.0, 100 * seconds / longest), 2));
  entry->SetValue("LEAST_WIDTH", fixed_text(std::min(100.0, limit), 2));
  entry->SetValue("OP_FLOPS", op.flops > 0 ? count_text(op.flops / seconds) : "");
  entry->SetValue("OP_BYTES", count_text(op.bytes / seconds));
  entry->SetValue("LIMIT", row.least_seconds > 0 ? fixed_text(limit, 0) + " %" : "");
  entry->SetValue("LEFT", fixed_text(1e3 * row.left_seconds(), 1) + " ms");
}

}  // namespace

void add_ops(ctemplate::TemplateDictionary& page, const std::vector<OpProfile>& profiles,
             double width) {
  const OpSummary summary = summarize_ops(profiles);
  if (summary.rows.empty() || summary.seconds <= 0) return;
  ctemplate::TemplateDictionary* section = page.AddSectionDictionary("OPS");
  const auto part = [&](const std::string& name, double seconds) {
    const std::string percent = fixed_text(100 * seconds / summary.seconds, 1);
    section->SetValue(name, percent + " %");
    section->SetValue(name + "_WIDTH", percent);
  };
  part("PRODUCTS", summary.products);
  part("MEMORY", summary.memory);
  part("COMM", summary.communication);
  part("WAIT", summary.waiting);
  part("ELSEWHERE", summary.elsewhere());
  const Roof roof = mean_roof(profiles);
  section->SetValue("FLOPS", count_text(roof.flops_per_second));
  section->SetValue("BYTES", count_text(roof.bytes_per_second));
  for (size_t i = 0; i < std::min(summary.rows.size(), kOpsShown); ++i)
    add_row(*section, summary, summary.rows[i]);
  const std::string picture = roofline_svg(summary, roof, width);
  if (!picture.empty()) section->AddSectionDictionary("ROOFLINE")->SetValue("PICTURE", picture);
}

}  // namespace kente
