#include <algorithm>

#include "csrc/report/number_text.h"
#include "csrc/report/svg.h"

namespace kente {
namespace {

constexpr double kPlanLeft = 132, kPlanRight = 4, kPlanRow = 62, kPlanGap = 12, kPlanTop = 4;
constexpr size_t kRows = 64;
constexpr size_t kShades = 6;

int64_t layers_of(const Environment::Stage& stage) {
  int64_t count = 0;
  for (const auto& [first, last] : stage.layers)
    count += std::clamp<int64_t>(last - first + 1, 0, 1 << 20);
  return count;
}

/// "embedding, 1–3", "4, head": what people call layers 0 and the highest.
std::string layer_names(const Environment::Stage& stage, int64_t head) {
  const auto name = [&](int64_t layer) {
    return layer == 0 ? "embed" : layer == head ? "head" : std::to_string(layer);
  };
  std::string names;
  for (const auto& [first, last] : stage.layers) {
    if (!names.empty()) names += ", ";
    names += first >= last ? name(first) : name(first) + " – " + name(last);
  }
  return names.empty() ? "no layers" : names;
}

std::string text(double x, double y, const char* css_class, const std::string& content) {
  return "<text class=\"" + std::string(css_class) + "\" x=\"" + px(x) + "\" y=\"" + px(y) + "\">" +
         escaped(content) + "</text>";
}

/// Text that is cut to what fits.
std::string fitted(const std::string& content, double width) {
  const auto room = static_cast<size_t>(std::max(width - 12, 0.0) / 6.3);
  if (content.size() <= room) return content;
  return room < 4 ? "" : content.substr(0, room - 1) + "…";
}

std::string stage_svg(const Environment::Stage& stage, double x, double width, double y,
                      int64_t head) {
  const std::string names = layer_names(stage, head);
  const bool recompute = !stage.recompute.empty() && stage.recompute != "none";
  const std::string detail = stage.dtype + (stage.gpu.empty() ? "" : " · " + stage.gpu) +
                             (recompute ? " · recompute " + stage.recompute : "");
  const auto shade = static_cast<size_t>(std::max<int64_t>(stage.rank, 0)) % kShades;
  return "<g class=\"stage shade" + std::to_string(shade) + "\"><rect x=\"" + px(x) + "\" y=\"" +
         px(y) + "\" width=\"" + px(std::max(width - 4, 1.0)) + "\" height=\"" + px(kPlanRow) +
         "\" rx=\"7\"><title>" +
         escaped("rank " + std::to_string(stage.rank) + ": " + names + ", " + detail) +
         "</title></rect>" +
         text(x + 10, y + 20, "head", fitted("rank " + std::to_string(stage.rank), width)) +
         text(x + 10, y + 38, "body", fitted(names, width)) +
         text(x + 10, y + 53, "note", fitted(detail, width)) + "</g>";
}

}  // namespace

std::string plan_svg(const std::vector<Environment::Replica>& mesh, double width) {
  if (mesh.empty()) return "";
  int64_t shares = 0, head = 0;
  for (const Environment::Replica& replica : mesh) {
    shares += std::max<int64_t>(replica.share, 0);
    for (const Environment::Stage& stage : replica.stages)
      for (const auto& range : stage.layers) head = std::max(head, range.second);
  }
  const size_t rows = std::min(mesh.size(), kRows);
  const double height = kPlanTop * 2 + static_cast<double>(rows) * (kPlanRow + kPlanGap) - kPlanGap;
  std::string svg = "<svg class=\"plan\" viewBox=\"0 0 " + px(width) + " " + px(height) +
                    "\" role=\"img\" aria-label=\"the plan\">";
  for (size_t row = 0; row < rows; ++row) {
    const Environment::Replica& replica = mesh[row];
    const double y = kPlanTop + static_cast<double>(row) * (kPlanRow + kPlanGap);
    const double part =
        shares > 0 ? 100.0 * static_cast<double>(replica.share) / static_cast<double>(shares) : 0;
    svg += text(0, y + 20, "head", "replica " + std::to_string(row)) +
           text(0, y + 38, "body", fixed_text(part, 0) + " % of the batch") +
           text(0, y + 53, "note",
                std::to_string(replica.micro_batches) +
                    (replica.micro_batches == 1 ? " micro-batch" : " micro-batches"));
    int64_t layers = 0;
    for (const Environment::Stage& stage : replica.stages) layers += layers_of(stage);
    // A stage without layers is a spare: it still gets a box one can see.
    const double total = static_cast<double>(std::max<int64_t>(layers, 1)) +
                         0.5 * static_cast<double>(replica.stages.size());
    double x = kPlanLeft;
    for (const Environment::Stage& stage : replica.stages) {
      const double box =
          (width - kPlanLeft - kPlanRight) * (static_cast<double>(layers_of(stage)) + 0.5) / total;
      svg += stage_svg(stage, x, box, y, head);
      x += box;
    }
  }
  return svg + "</svg>";
}

}  // namespace kente
