#pragma once

namespace kente {

/// csrc/report/page.tpl, put into the program by CMake.
extern const char* const kPageTemplate;
/// csrc/report/cluster.tpl, with the style of page.tpl.
extern const char* const kClusterTemplate;

}  // namespace kente
