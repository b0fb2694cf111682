#pragma once

namespace kente {

/// csrc/report/page.tpl, put into the program by CMake.
extern const char* const kPageTemplate;

}  // namespace kente
