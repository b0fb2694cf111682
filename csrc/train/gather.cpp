#include "csrc/train/gather.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "csrc/base/hash.h"

namespace kente {
namespace {

[[noreturn]] void throw_with_status(ExitStatus status, const std::string& message) {
  switch (status) {
    case ExitStatus::kUsage:
      throw UsageError(message);
    case ExitStatus::kPeer:
      throw PeerError(message);
    case ExitStatus::kStorage:
      throw StorageError(message);
    default:
      throw InternalError(message);
  }
}

}  // namespace

std::vector<std::string> all_gather_text(Communicator& world, const std::string& text,
                                         const Deadline& deadline) {
  const auto ranks = static_cast<size_t>(world.size());
  int64_t length = static_cast<int64_t>(text.size());
  std::vector<int64_t> lengths(ranks);
  world
      .all_gather({.data = &length, .count = 1, .dtype = DType::kI64},
                  {.data = lengths.data(), .count = world.size(), .dtype = DType::kI64})
      ->wait(deadline);
  const int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  std::string padded = text;
  padded.resize(static_cast<size_t>(longest));
  std::string all(static_cast<size_t>(longest) * ranks, '\0');
  if (longest > 0)
    world
        .all_gather({.data = padded.data(), .count = longest, .dtype = DType::kU8},
                    {.data = all.data(), .count = longest * world.size(), .dtype = DType::kU8})
        ->wait(deadline);
  std::vector<std::string> texts;
  for (size_t rank = 0; rank < ranks; ++rank)
    texts.push_back(
        all.substr(rank * static_cast<size_t>(longest), static_cast<size_t>(lengths[rank])));
  return texts;
}

std::string shared_token(Communicator& world, const Deadline& deadline) {
  std::random_device device;
  uint64_t token = (uint64_t{device()} << 32) | device();
  world.broadcast({.data = &token, .count = 1, .dtype = DType::kI64}, 0)->wait(deadline);
  return hex64(token);
}

void together(Communicator& world, const std::function<void()>& work, const Deadline& deadline) {
  std::string failure;  // status digit, then the message
  try {
    work();
  } catch (const std::exception& e) {
    failure = std::to_string(static_cast<int>(exit_status(e))) + e.what();
  }
  const std::vector<std::string> all = all_gather_text(world, failure, deadline);
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (all[rank].empty()) continue;
    const auto status = static_cast<ExitStatus>(all[rank].front() - '0');
    if (world.rank() != 0) throw PeerStopped(static_cast<int>(rank), status);
    throw_with_status(status, all[rank].substr(1));
  }
}

}  // namespace kente
