#pragma once

#include <algorithm>
#include <string>
#include <vector>

namespace kente {

/// What one operation came to in one step of one rank.
struct OpRecord {
  std::string name;
  double calls = 0;
  double seconds = 0;
  double flops = 0;  // of products
  double bytes = 0;  // that must move
};

/// What a rank's machine does at most, measured with all ranks at work.
struct Roof {
  double flops_per_second = 0;
  double bytes_per_second = 0;
};

/// Where the time of one step of one rank went, and what its machine can do.
struct OpProfile {
  int rank = 0;
  double seconds = 0;        // the step
  double communication = 0;  // messages and reductions that the rank itself was busy with
  double waiting = 0;
  Roof roof;
  std::vector<OpRecord> ops;  // the longest first

  /// The least that an operation can take: the longer of its products and its traffic.
  double least_seconds(const OpRecord& op) const;
};

/// ops.json
std::string to_json(const std::vector<OpProfile>& profiles);
/// file is for messages. Throws FormatError.
std::vector<OpProfile> parse_op_profiles(const std::string& text, const std::string& file);

/// All ranks together: of each operation the sum of what they did, and what it takes at least.
struct OpSummary {
  struct Row {
    OpRecord op;
    double least_seconds = 0;

    /// least_seconds over what it took; not a number where it took no time.
    double of_limit() const { return least_seconds / op.seconds; }
    double left_seconds() const { return std::max(0.0, op.seconds - least_seconds); }
  };
  std::vector<Row> rows;  // the longest first
  double seconds = 0;     // of all ranks' steps
  double products = 0;    // seconds in products, attention among them
  double memory = 0;      // in operations that only move bytes
  double communication = 0, waiting = 0;
  /// Between operations: allocation, bookkeeping, what is not timed.
  double elsewhere() const;
};
OpSummary summarize_ops(const std::vector<OpProfile>& profiles);

}  // namespace kente
