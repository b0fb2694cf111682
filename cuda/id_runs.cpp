#include <algorithm>
#include <numeric>

#include "cuda/embedding.h"

namespace kente::cuda {

IdRuns runs_of(const int32_t* ids, int64_t rows) {
  IdRuns runs;
  runs.rows.resize(static_cast<size_t>(rows));
  std::iota(runs.rows.begin(), runs.rows.end(), 0);
  std::stable_sort(runs.rows.begin(), runs.rows.end(),
                   [&](int32_t a, int32_t b) { return ids[a] < ids[b]; });
  for (size_t i = 0; i < runs.rows.size(); ++i) {
    const int32_t id = ids[runs.rows[i]];
    if (!runs.ids.empty() && runs.ids.back() == id) continue;
    runs.ids.push_back(id);
    runs.begins.push_back(static_cast<int32_t>(i));
  }
  runs.begins.push_back(static_cast<int32_t>(rows));
  return runs;
}

}  // namespace kente::cuda
