#include "comm/mpi.h"

#include <mpi.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "comm/piecewise.h"
#include "csrc/base/errors.h"
#include "csrc/base/failpoint.h"
#include "csrc/base/unique_handle.h"

namespace kente {
namespace {

/// What is being done, for messages.
struct Operation {
  const char* name = "";
  int rank = 0;
  int peer = -1;
  int tag = -1;
  BufferView data;

  std::string text() const {
    std::string text = "rank " + std::to_string(rank) + ": " + name;
    if (data.data != nullptr)
      text += " of " + std::to_string(data.count) + " " + std::string(name_of(data.dtype));
    if (peer >= 0) text += ", peer rank " + std::to_string(peer);
    if (tag >= 0) text += ", tag " + std::to_string(tag);
    return text;
  }
};

void check(int code, const Operation& operation) {
  if (code == MPI_SUCCESS) return;
  int error_class = MPI_ERR_OTHER;
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_class(code, &error_class);
  MPI_Error_string(code, text, &length);
  if (error_class == MPI_ERR_TRUNCATE)
    throw InternalError(operation.text() + ": the peer sent more than that");
  throw PeerError(operation.text() + ": " + text + "; resume the run");
}

/// What one MPI call carries at most; its counts are int.
constexpr int64_t kMessageBytes = int64_t{1} << 30;

MPI_Datatype type_of(DType dtype, ReduceOp op) {
  switch (dtype) {
    case DType::kU8:
      return MPI_UINT8_T;
    case DType::kU16:
      return MPI_UINT16_T;
    case DType::kI32:  // unsigned where sums must wrap
      return op == ReduceOp::kSum ? MPI_UINT32_T : MPI_INT32_T;
    case DType::kI64:
      return op == ReduceOp::kSum ? MPI_UINT64_T : MPI_INT64_T;
    case DType::kF32:
      return MPI_FLOAT;
    case DType::kF64:
      return MPI_DOUBLE;
    case DType::kF16:
    case DType::kBF16:
      break;
  }
  throw InternalError("reduction of " + std::string(name_of(dtype)) + ": convert to f32 first");
}

MPI_Op op_of(ReduceOp op) {
  return op == ReduceOp::kSum ? MPI_SUM : op == ReduceOp::kMin ? MPI_MIN : MPI_MAX;
}

/// Elements [first, first + count) of a buffer.
BufferView slice(BufferView whole, int64_t first, int64_t count) {
  return {static_cast<char*>(whole.data) + first * size_of(whole.dtype), count, whole.dtype};
}

struct FreeComm {
  static MPI_Comm none() { return MPI_COMM_NULL; }
  void operator()(MPI_Comm comm) const { MPI_Comm_free(&comm); }
};
using Comm = UniqueHandle<MPI_Comm, FreeComm>;

/// Starts an operation of MPI's.
using Start = std::function<int(MPI_Request*)>;

class MpiRequest : public Request {
 public:
  /// expected_bytes: of a receive; -1 for all else.
  MpiRequest(const Operation& operation, Start start, int64_t expected_bytes)
      : operation_(operation), start_(std::move(start)), expected_bytes_(expected_bytes) {}

  void start() override { check(start_(&request_), operation_); }

  bool test() override {
    KENTE_FAILPOINT("comm.wait");
    int complete = 0;
    MPI_Status status;
    check(MPI_Test(&request_, &complete, &status), operation_);
    if (!complete || expected_bytes_ < 0) return complete != 0;
    int bytes = 0;
    check(MPI_Get_count(&status, MPI_BYTE, &bytes), operation_);
    if (bytes != expected_bytes_)
      throw InternalError(operation_.text() + ": got " + std::to_string(bytes) + " bytes, want " +
                          std::to_string(expected_bytes_));
    return true;
  }

  /// A receive that nothing was matched to is cancelled cleanly. MPI has no such thing for the
  /// rest.
  bool give_up() override {
    if (expected_bytes_ < 0) return false;
    if (request_ == MPI_REQUEST_NULL) return true;
    int complete = 0;
    MPI_Cancel(&request_);
    MPI_Test(&request_, &complete, MPI_STATUS_IGNORE);
    return complete != 0;
  }

 private:
  const Operation operation_;
  const Start start_;
  const int64_t expected_bytes_;
  MPI_Request request_ = MPI_REQUEST_NULL;
};

}  // namespace

struct MpiSession::State {
  bool lost = false;  // something was given up: peers may be gone
  int local_rank = 0;
  int local_size = 1;
  std::string host_name;
  std::vector<CollectiveQueue*> queues;  // of every communicator there is
  Comm idle;                             // nobody sends on it: probing it only makes progress
};

namespace {

using Requests = std::vector<std::unique_ptr<Request>>;

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator(MpiSession::State& session, Comm comm, int64_t piece_bytes)
      : session_(session), comm_(std::move(comm)), piece_bytes_(piece_bytes) {
    check(MPI_Comm_set_errhandler(comm_.get(), MPI_ERRORS_RETURN), named("set_errhandler"));
    check(MPI_Comm_rank(comm_.get(), &rank_), named("rank"));
    check(MPI_Comm_size(comm_.get(), &size_), named("size"));
    session_.queues.push_back(&queue_);
  }
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;
  ~MpiCommunicator() override {
    std::erase(session_.queues, &queue_);
    if (session_.lost || std::uncaught_exceptions() > 0) comm_.release();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  std::unique_ptr<Work> isend(BufferView data, int to, int tag) override {
    KENTE_FAILPOINT("comm.send");
    const Operation operation = named("isend", data, to, tag);
    Requests requests;
    cut(data, kMessageBytes, [&](BufferView part) {
      add(requests, operation, [=, comm = comm_.get()](MPI_Request* request) {
        return MPI_Isend(part.data, static_cast<int>(part.bytes()), MPI_BYTE, to, tag, comm,
                         request);
      });
    });
    return begin(nullptr, operation, std::move(requests));
  }

  std::unique_ptr<Work> irecv(BufferView data, int from, int tag) override {
    KENTE_FAILPOINT("comm.receive");
    const Operation operation = named("irecv", data, from, tag);
    Requests requests;
    cut(data, kMessageBytes, [&](BufferView part) {
      const Start start = [=, comm = comm_.get()](MPI_Request* request) {
        return MPI_Irecv(part.data, static_cast<int>(part.bytes()), MPI_BYTE, from, tag, comm,
                         request);
      };
      requests.push_back(std::make_unique<MpiRequest>(operation, start, part.bytes()));
    });
    return begin(nullptr, operation, std::move(requests));
  }

  std::unique_ptr<Work> all_reduce(BufferView data, ReduceOp op) override {
    const Operation operation = named("all_reduce", data);
    const MPI_Datatype type = type_of(data.dtype, op);
    Requests requests;
    cut(data, size_ > 1 ? piece_bytes_ : 0, [&](BufferView part) {
      add(requests, operation, [=, comm = comm_.get()](MPI_Request* request) {
        return MPI_Iallreduce(MPI_IN_PLACE, part.data, static_cast<int>(part.count), type,
                              op_of(op), comm, request);
      });
    });
    return begin(&queue_, operation, std::move(requests));
  }

  /// As reductions to each rank in turn: MPI's own takes no pieces of a larger input.
  std::unique_ptr<Work> reduce_scatter(BufferView input, BufferView output) override {
    const Operation operation = named("reduce_scatter", input);
    check_parts(operation, input, output);
    const MPI_Datatype type = type_of(input.dtype, ReduceOp::kSum);
    Requests requests;
    for (int root = 0; root < size_; ++root) {
      const BufferView part = slice(input, root * output.count, output.count);
      cut(part, piece_bytes_, [&](BufferView from) {
        const int64_t first =
            (static_cast<char*>(from.data) - static_cast<char*>(part.data)) / size_of(part.dtype);
        void* const to = slice(output, first, from.count).data;
        add(requests, operation, [=, comm = comm_.get()](MPI_Request* request) {
          return MPI_Ireduce(from.data, to, static_cast<int>(from.count), type, MPI_SUM, root, comm,
                             request);
        });
      });
    }
    return begin(&queue_, operation, std::move(requests));
  }

  /// As broadcasts from each rank in turn, for the same reason.
  std::unique_ptr<Work> all_gather(BufferView input, BufferView output) override {
    const Operation operation = named("all_gather", input);
    check_parts(operation, output, input);
    const BufferView own = slice(output, rank_ * input.count, input.count);
    std::copy_n(static_cast<const char*>(input.data), input.bytes(), static_cast<char*>(own.data));
    Requests requests;
    for (int root = 0; root < size_; ++root)
      add_broadcast(requests, operation, slice(output, root * input.count, input.count), root);
    return begin(&queue_, operation, std::move(requests));
  }

  std::unique_ptr<Work> broadcast(BufferView data, int root) override {
    const Operation operation = named("broadcast", data, root);
    Requests requests;
    add_broadcast(requests, operation, data, root);
    return begin(&queue_, operation, std::move(requests));
  }

  void barrier(const Deadline& deadline) override {
    const Operation operation = named("barrier");
    Requests requests;
    add(requests, operation,
        [comm = comm_.get()](MPI_Request* request) { return MPI_Ibarrier(comm, request); });
    begin(&queue_, operation, std::move(requests))->wait(deadline);
  }

  std::unique_ptr<Communicator> split(int color, int key) override {
    KENTE_CHECK(queue_.empty(), named("split").text() + " with collectives under way");
    MPI_Comm part = MPI_COMM_NULL;
    check(MPI_Comm_split(comm_.get(), color < 0 ? MPI_UNDEFINED : color, key, &part),
          named("split"));
    if (part == MPI_COMM_NULL) return nullptr;
    return std::make_unique<MpiCommunicator>(session_, Comm(part), piece_bytes_);
  }

  /// Of all communicators: a rank calls it on one while others have sums under way.
  void progress() override {
    for (CollectiveQueue* queue : session_.queues) queue->pump();
    int found = 0;
    check(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, session_.idle.get(), &found, MPI_STATUS_IGNORE),
          named("progress"));
  }

  void abort(int status) override { MPI_Abort(MPI_COMM_WORLD, status); }

 private:
  Operation named(const char* name, BufferView data = {}, int peer = -1, int tag = -1) const {
    return {.name = name, .rank = rank_, .peer = peer, .tag = tag, .data = data};
  }

  static void add(Requests& requests, const Operation& operation, Start start) {
    requests.push_back(std::make_unique<MpiRequest>(operation, std::move(start), -1));
  }

  void add_broadcast(Requests& requests, const Operation& operation, BufferView data,
                     int root) const {
    cut(data, piece_bytes_, [&](BufferView part) {
      add(requests, operation, [=, comm = comm_.get()](MPI_Request* request) {
        return MPI_Ibcast(part.data, static_cast<int>(part.bytes()), MPI_BYTE, root, comm, request);
      });
    });
  }

  std::unique_ptr<Work> begin(CollectiveQueue* queue, const Operation& operation,
                              Requests requests) {
    if (queue) KENTE_FAILPOINT("comm.collective");
    auto work = std::make_unique<PiecewiseWork>(queue, operation.text(), std::move(requests),
                                                &session_.lost);
    work->done();
    return work;
  }

  /// Calls use(part) for parts of at most so many bytes; once for an empty buffer, never if bytes
  /// is 0.
  template <typename Use>
  static void cut(BufferView data, int64_t bytes, Use use) {
    if (bytes == 0) return;
    const int64_t most = std::max<int64_t>(1, bytes / size_of(data.dtype));
    int64_t first = 0;
    do {
      const int64_t count = std::min(most, data.count - first);
      use(slice(data, first, count));
      first += count;
    } while (first < data.count);
  }

  void check_parts(const Operation& operation, BufferView whole, BufferView one) const {
    KENTE_CHECK(whole.count == one.count * size_ && whole.dtype == one.dtype,
                operation.text() + ": the whole has " + std::to_string(whole.count) +
                    " elements, want " + std::to_string(size_) + " x " + std::to_string(one.count));
  }

  MpiSession::State& session_;
  Comm comm_;
  const int64_t piece_bytes_;
  int rank_ = 0;
  int size_ = 1;
  CollectiveQueue queue_;
};

}  // namespace

std::string mpi_library() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  // What follows the comma names the machine it was built on.
  if (MPI_Get_library_version(text, &length) != MPI_SUCCESS) return "unknown";
  const std::string all(text, static_cast<size_t>(length));
  return all.substr(0, all.find_first_of(",\n"));
}

MpiSession::MpiSession(int* argc, char*** argv) : state_(std::make_unique<State>()) {
  const Operation operation = {
      .name = "MPI_Init_thread", .rank = 0, .peer = -1, .tag = -1, .data = {}};
  int provided = 0;
  check(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided), operation);
  check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), operation);
  if (provided < MPI_THREAD_FUNNELED)
    throw PeerError("MPI was built without threads; want MPI_THREAD_FUNNELED");
  MPI_Comm node = MPI_COMM_NULL;
  check(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node),
        operation);
  const Comm owned(node);
  check(MPI_Comm_rank(node, &state_->local_rank), operation);
  check(MPI_Comm_size(node, &state_->local_size), operation);
  char name[MPI_MAX_PROCESSOR_NAME] = "";
  int length = 0;
  check(MPI_Get_processor_name(name, &length), operation);
  state_->host_name.assign(name, static_cast<size_t>(length));
  MPI_Comm idle = MPI_COMM_NULL;
  check(MPI_Comm_dup(MPI_COMM_WORLD, &idle), operation);
  state_->idle = Comm(idle);
}

MpiSession::~MpiSession() {
  if (state_->lost || std::uncaught_exceptions() > 0) {
    state_->idle.release();
    return;
  }
  state_->idle.reset();
  MPI_Finalize();
}

std::unique_ptr<Communicator> MpiSession::world(int64_t piece_bytes) {
  KENTE_CHECK(piece_bytes >= 8 && piece_bytes <= kMessageBytes,
              "pieces of " + std::to_string(piece_bytes) + " bytes");
  MPI_Comm all = MPI_COMM_NULL;
  check(MPI_Comm_dup(MPI_COMM_WORLD, &all),
        {.name = "MPI_Comm_dup", .rank = 0, .peer = -1, .tag = -1, .data = {}});
  return std::make_unique<MpiCommunicator>(*state_, Comm(all), piece_bytes);
}

int MpiSession::local_rank() const { return state_->local_rank; }
int MpiSession::local_size() const { return state_->local_size; }
const std::string& MpiSession::host_name() const { return state_->host_name; }

}  // namespace kente
