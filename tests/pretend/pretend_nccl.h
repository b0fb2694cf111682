#pragma once

// NCCL between pretended GPUs of one process, a thread a rank. Communicators become ready some
// time after all have asked; operations are taken over when they are asked for again. As with the
// real one, members of an operation wait for each other in their streams, and who asks for another
// before the last was taken over is refused. Stricter: operations that do not fit together are an
// error of all.

namespace kente::pretend {

/// From now on this rank's communicators (its number in each) answer with that ncclResult_t; 0:
/// none does.
void fail_nccl(int rank, int result);

/// The version that this thread's NCCL says it is; 0: the usual one.
void set_nccl_version(int version);

}  // namespace kente::pretend
