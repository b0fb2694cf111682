#pragma once

#include <ctemplate/template.h>

#include <vector>

#include "csrc/report/op_profile.h"

namespace kente {

/// The run page's section on operations; nothing where none was timed.
void add_ops(ctemplate::TemplateDictionary& page, const std::vector<OpProfile>& profiles,
             double width);

}  // namespace kente
