#pragma once

#include <string>

#include "comm/communicator.h"
#include "csrc/data/loader.h"
#include "csrc/nn/ops/ops.h"
#include "csrc/plan/mesh.h"
#include "csrc/report/environment.h"
#include "csrc/train/trainer.h"

namespace kente {

/// Compares build, recipe, plan and library versions over all ranks before anything else happens.
/// Throws UsageError that names the first rank that differs, and in what. A collective.
void agree_on_everything(const TrainOptions& options, Communicator& world,
                         const Deadline& deadline);

/// Versions, machines, sources and mesh, without the ceiling. data is null on ranks that read none;
/// every rank has its own machine and all host names. A collective.
Environment describe_environment(const Recipe& recipe, const Mesh& mesh,
                                 const TrainOptions& options, Communicator& world,
                                 const TrainingData* data, const Deadline& deadline);

/// The dtype of the stage a rank runs; fp32 for a spare.
DType compute_dtype(const Plan& plan, const Mesh& mesh, int rank);

/// Training FLOPs a token: 6 N + 6 L D T with causal attention; N counts the elements of all
/// matrices that are multiplied, the LM head included, the embedding lookup not. Recompute never
/// counts.
double model_flops_per_token(const Recipe& recipe);

/// FLOP/s of square GEMMs in dtype on this thread, or on ops' GPU, over about so many seconds.
double gemm_flops_per_second(Ops& ops, DType dtype, double seconds);

/// Bytes read and bytes written a second, of one thread that copies between two buffers larger than
/// its caches, for about so many seconds.
double copy_bytes_per_second(double seconds);

/// FLOP/s of GEMM in dtype, one thread or GPU a rank, all ranks at once for so long, summed. A
/// collective.
double measure_ceiling(Communicator& world, Ops& ops, DType dtype, double seconds,
                       const Deadline& deadline);

}  // namespace kente
