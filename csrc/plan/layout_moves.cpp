#include <set>

#include "csrc/plan/layout_search.h"

namespace kente {
namespace {

/// Collects layouts that differ from one in a pipeline or two.
class Moves {
 public:
  Moves(const Layout& layout, const RankKinds& kinds, int longest)
      : layout_(layout), spares_(spares_of(layout, kinds)), longest_(longest) {}

  std::vector<Layout> all() {
    for (const auto& [sequence, times] : layout_) {
      move_within(sequence);
      move_spares(sequence);
      for (const auto& [other, other_times] : layout_)
        if (&other != &sequence || times > 1) move_between(sequence, other);
    }
    for (size_t kind = 0; kind < spares_.size(); ++kind)
      if (spares_[kind] > 0) replace({}, {{static_cast<int>(kind)}});
    return {found_.begin(), found_.end()};
  }

 private:
  using Sequences = std::vector<KindSequence>;

  void replace(const Sequences& gone, const Sequences& come) {
    Layout next = layout_;
    for (const KindSequence& sequence : gone)
      if (--next[sequence] == 0) next.erase(sequence);
    for (const KindSequence& sequence : come) {
      if (static_cast<int>(sequence.size()) > longest_) return;
      if (!sequence.empty()) ++next[sequence];
    }
    if (!next.empty() && next != layout_) found_.insert(std::move(next));
  }

  /// Whether taking position i differs from taking the one before.
  static bool differs(const KindSequence& sequence, size_t i) {
    return i == 0 || i == sequence.size() || sequence[i] != sequence[i - 1];
  }
  static KindSequence without(KindSequence sequence, size_t i) {
    sequence.erase(sequence.begin() + static_cast<std::ptrdiff_t>(i));
    return sequence;
  }
  static KindSequence with(KindSequence sequence, size_t i, int kind) {
    sequence.insert(sequence.begin() + static_cast<std::ptrdiff_t>(i), kind);
    return sequence;
  }

  void move_within(const KindSequence& a) {
    for (size_t i = 0; i < a.size(); ++i)
      for (size_t j = i + 1; j < a.size(); ++j) {
        KindSequence swapped = a;
        std::swap(swapped[i], swapped[j]);
        replace({a}, {swapped});
      }
    for (size_t i = 1; i < a.size(); ++i) {
      const auto middle = a.begin() + static_cast<std::ptrdiff_t>(i);
      replace({a}, {{a.begin(), middle}, {middle, a.end()}});
    }
  }

  void move_spares(const KindSequence& a) {
    for (size_t i = 0; i <= a.size(); ++i) {
      if (!differs(a, i)) continue;
      if (i < a.size()) replace({a}, {without(a, i)});
      for (size_t kind = 0; kind < spares_.size(); ++kind) {
        if (spares_[kind] < 1) continue;
        replace({a}, {with(a, i, static_cast<int>(kind))});
        if (i < a.size()) replace({a}, {with(without(a, i), i, static_cast<int>(kind))});
      }
    }
  }

  void move_between(const KindSequence& a, const KindSequence& b) {
    KindSequence joined = a;
    joined.insert(joined.end(), b.begin(), b.end());
    replace({a, b}, {joined});
    for (size_t i = 0; i < a.size(); ++i) {
      if (!differs(a, i)) continue;
      for (size_t j = 0; j <= b.size(); ++j) {
        if (!differs(b, j)) continue;
        replace({a, b}, {without(a, i), with(b, j, a[i])});
        if (j < b.size() && a[i] != b[j])
          replace({a, b}, {with(without(a, i), i, b[j]), with(without(b, j), j, a[i])});
      }
    }
  }

  const Layout& layout_;
  const std::vector<int> spares_;
  const int longest_;
  std::set<Layout> found_;
};

}  // namespace

std::vector<Layout> neighbours(const Layout& layout, const RankKinds& kinds, int longest) {
  return Moves(layout, kinds, longest).all();
}

}  // namespace kente
