#!/usr/bin/env python3
"""Writes the round protocol's sources with one mistake each, which the simulator must find.

  mutants.py SOURCES OUT    writes OUT/NAME.cpp for every mistake; prints the names
"""

import sys
from pathlib import Path

# Name: the file, and what is replaced once by what.
MUTANTS = {
    "commit_said_before_it_is_durable": (
        "round_hub.cpp",
        "  write(RoundCommitted{std::move(commit)});\n",
        """  for (const auto& [lab, member] : members_)
    if (member.durable) send(lab, Committed{epoch_of(lab), commit});
  write(RoundCommitted{std::move(commit)});
""",
    ),
    "done_said_before_it_is_durable": (
        "round_hub.cpp",
        "    write(RoundDone{committed_, weights});\n",
        """    for (const auto& vote : votes_)
      send(vote.first, Done{epoch_of(vote.first), committed_, weights});
    write(RoundDone{committed_, weights});
""",
    ),
    "answer_before_the_term_is_durable": (
        "round_hub.cpp",
        "  if (phase_ == Phase::kStarting) return {};\n",
        "",
    ),
    "term_not_counted": ("round_hub.cpp", "  ++term_;\n", "  term_ = std::max<int64_t>(term_, 1);\n"),
    "earlier_incarnation_heard": (
        "round_hub.cpp",
        "!member->second.durable || epoch != epoch_of(lab)",
        "epoch.term != term_",
    ),
    "earlier_process_admitted_again": (
        "round_hub.cpp",
        """  if (known != members_.end() && known->second.session > join.session)
    return send(lab, Fenced{join.session});
""",
        "",
    ),
    "update_of_an_earlier_process_kept": (
        "round_hub.cpp",
        "  if (phase_ == Phase::kCollecting) updates_.erase(lab);\n",
        "",
    ),
    "quorum_one_short": (
        "round_hub.cpp",
        "return labs >= static_cast<size_t>(policy_.quorum);",
        "return labs + 1 >= static_cast<size_t>(policy_.quorum);",
    ),
    "base_not_checked": (
        "round_hub.cpp",
        "  if (update.base != weights_.at(done_)) return heal(lab);\n",
        "",
    ),
    "update_of_an_earlier_round_taken": (
        "round_hub.cpp",
        """  if (update.round <= committed_ || (phase_ == Phase::kVoting && update.round == committed_ + 1))
    return learn(lab, update.round - 1, update.base, now);
  if (phase_ != Phase::kCollecting || update.round != committed_ + 1) return;
  if (update.base != weights_.at(done_)) return heal(lab);
""",
        "  if (phase_ != Phase::kCollecting) return;\n",
    ),
    "commit_forgotten_when_the_log_is_read": (
        "round_hub.cpp",
        "    committed_ = committed->commit.round;\n",
        "    if (policy_.quorum < 0) committed_ = committed->commit.round;\n",
    ),
    "members_forgotten_when_the_log_is_read": (
        "round_hub.cpp",
        "        .incarnation = admitted->incarnation, .session",
        "        .incarnation = 1, .session",
    ),
    "any_vote_decides": (
        "round_hub.cpp",
        "const bool majority = 2 * votes > std::max(contributed, votes_.size());",
        "const bool majority = votes + contributed > 0;",
    ),
    "rounds_skipped": (
        "round_lab.cpp",
        "  if (commit.round != applied_ + 1 || commit.base != weights_) return;\n",
        "",
    ),
    "round_applied_twice": (
        "round_lab.cpp",
        "  if (phase_ == Phase::kApplying || phase_ == Phase::kHealing) return;\n  if (commit",
        "  if (commit",
    ),
    "residual_of_an_earlier_process": (
        "round_lab.cpp",
        "contribution == update_ ? Part::kOwn : Part::kEarlier",
        "Part::kOwn",
    ),
    "update_not_sent_to_a_new_hub": (
        "round_lab.cpp",
        "  if (admit.epoch != epoch_) received_ = false;\n",
        "",
    ),
    "trained_from_other_weights": (
        "round_lab.cpp",
        "round != applied_ + 1 || base != weights_) return {};",
        "round != applied_ + 1) return {};",
    ),
    "trained_again_beside_an_update": (
        "round_lab.cpp",
        "  if (update_) {\n",
        "  if (update_ && applied_ < 0) {\n",
    ),
    "trained_beside_a_commit": (
        "round_lab.cpp",
        "  if (phase_ != Phase::kTraining || round != applied_ + 1 || base != weights_) return {};\n",
        "",
    ),
}


def main() -> None:
    sources, out = map(Path, sys.argv[1:3])
    out.mkdir(parents=True, exist_ok=True)
    for name, (file, old, new) in MUTANTS.items():
        text = (sources / file).read_text(encoding="utf-8")
        if old not in text:
            sys.exit(f"mutant {name}: {file} does not hold what it replaces; write it anew")
        path = out / f"{name}.cpp"
        mutated = text.replace(old, new, 1)
        if not path.exists() or path.read_text(encoding="utf-8") != mutated:
            path.write_text(mutated, encoding="utf-8")
    print("\n".join(MUTANTS))


if __name__ == "__main__":
    main()
