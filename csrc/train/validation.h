#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "csrc/config/recipe.h"
#include "csrc/data/loader.h"
#include "csrc/plan/mesh.h"
#include "csrc/report/run_record.h"
#include "csrc/train/step.h"

namespace kente {

/// Loss on held-back documents. The work is cut into grains of one source each and dealt out to the
/// replicas; sums are integers, so the result is the same on every plan that computes the same
/// bits.
class Validation {
 public:
  /// A collective. Only ranks that read data open files.
  Validation(const Recipe& recipe, const Mesh& mesh, Communicator& world,
             const std::string& data_directory, double timeout_seconds);

  bool empty() const { return pieces_.empty(); }
  /// A collective; every rank gets the same record.
  ValidationRecord run(int64_t step, Step& step_engine);

 private:
  struct Piece {
    int64_t first_sample = 0, samples = 0, source = 0;
  };
  void cut_into_pieces(std::vector<double>& bytes_per_token);

  const Recipe& recipe_;
  const Mesh& mesh_;
  Communicator& world_;
  const double timeout_seconds_;
  std::unique_ptr<ValidationData> data_;  // null on ranks that read no data
  std::vector<Piece> pieces_;             // piece i goes to replica i % replicas
  std::vector<double> bytes_per_token_;   // by source
};

}  // namespace kente
