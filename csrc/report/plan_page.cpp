#include "csrc/report/plan_page.h"

#include "csrc/report/page_template.h"
#include "csrc/report/svg.h"

namespace kente {
namespace {

constexpr double kWidth = 1000;
constexpr size_t kPlanTextShown = 64 << 10;

/// The report's style sheet: one look for both pages.
std::string style() {
  const std::string page(kPageTemplate);
  const size_t begin = page.find("<style>");
  const size_t end = page.find("</style>");
  return page.substr(begin, end - begin) + "</style>\n";
}

std::string section(const std::string& title, const std::string& note, const std::string& body) {
  return "<section>\n<h2>" + escaped(title) + "</h2><p>" + escaped(note) + "</p>\n" + body +
         "\n</section>\n";
}

std::string cells(const std::vector<std::string>& row, const std::string& tag) {
  std::string html = "<tr>";
  for (const std::string& cell : row) html += "<" + tag + ">" + escaped(cell) + "</" + tag + ">";
  return html + "</tr>\n";
}

std::string table(const PlanPage::Table& table) {
  std::string html = "<div class=\"scroll\"><table>" + cells(table.header, "th");
  for (const std::vector<std::string>& row : table.rows) html += cells(row, "td");
  return section(table.title, table.note, html + "</table></div>");
}

std::string legend() {
  std::string html = "<div class=\"legend\">";
  for (const auto& [css_class, name] :
       {std::pair("fwd", "F forward"), std::pair("bwd", "BI backward, inputs"),
        std::pair("wgt", "BW backward, weights"), std::pair("other", "L loss, S optimizer"),
        std::pair("comm", "AR gradients reduced"), std::pair("wait", "waiting")})
    html += "<span><i class=\"" + std::string(css_class) + "\"></i>" + name + "</span>";
  return html + "</div>";
}

}  // namespace

std::string plan_page_html(const PlanPage& page) {
  std::string html =
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>" +
      escaped(page.title) + " – kente plan</title>\n" + style() +
      "</head>\n<body>\n<main>\n<header>\n<div class=\"weave\"></div>\n<h1>" + escaped(page.title) +
      "</h1>\n<p class=\"soft\">" + escaped(page.subtitle) +
      "</p>\n</header>\n<div class=\"tiles\">";
  for (const PlanPage::Tile& tile : page.tiles)
    html += "\n<div class=\"tile\"><span>" + escaped(tile.name) + "</span><b>" +
            escaped(tile.value) + "</b><span>" + escaped(tile.note) + "</span></div>";
  html += "\n</div>\n";
  html += section("The plan", page.mesh_note,
                  "<div class=\"scroll\">" + plan_svg(page.mesh, kWidth) + "</div>");
  html +=
      section("One step, simulated", page.timeline_note,
              legend() + "<div class=\"scroll\">" + timeline_svg(page.timeline, kWidth) + "</div>");
  for (const PlanPage::Table& one : page.tables) html += table(one);
  html += section("plan.textproto", "What kente train --plan reads.",
                  "<details><summary>show</summary><pre>" +
                      escaped(page.plan_text.substr(0, kPlanTextShown)) + "</pre></details>");
  return html +
         "<footer>Made by kente plan. This page loads nothing from anywhere.</footer>\n"
         "</main>\n</body>\n</html>\n";
}

}  // namespace kente
