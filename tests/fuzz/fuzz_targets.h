#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kente {

/// A parser of bytes that others wrote.
struct FuzzTarget {
  const char* name;
  /// Lets the parser read these bytes. Returns whether it took them; a refusal in the parser's own
  /// words is as good. Whatever else is thrown gets out.
  bool (*takes)(std::string_view bytes);
  /// What it must take.
  std::vector<std::string> (*seeds)();
};

const std::vector<FuzzTarget>& fuzz_targets();
/// Throws UsageError when there is none of that name.
const FuzzTarget& fuzz_target(std::string_view name);

}  // namespace kente
