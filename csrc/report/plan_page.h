#pragma once

#include <string>
#include <utility>
#include <vector>

#include "csrc/report/environment.h"
#include "csrc/report/run_record.h"

namespace kente {

/// What a plan's picture shows. All texts may be anything: they are escaped.
struct PlanPage {
  struct Tile {
    std::string name, value, note;
  };
  struct Table {
    std::string title, note;
    std::vector<std::string> header;
    std::vector<std::vector<std::string>> rows;
  };
  std::string title, subtitle;
  std::vector<Tile> tiles;
  std::vector<Environment::Replica> mesh;
  std::string mesh_note;  // under the plan's heading
  std::vector<TimelineSpan> timeline;
  std::string timeline_note;
  std::vector<Table> tables;
  std::string plan_text;  // plan.textproto, folded away
};

/// One self-contained page, light and dark, in the report's colours. Loads nothing from anywhere.
std::string plan_page_html(const PlanPage& page);

}  // namespace kente
