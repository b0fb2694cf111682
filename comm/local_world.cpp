#include "comm/local_world.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "comm/reduce.h"
#include "csrc/base/errors.h"

namespace kente {
namespace {

using Kind = LocalRound::Kind;

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::kAllReduce:
      return "all_reduce";
    case Kind::kReduceScatter:
      return "reduce_scatter";
    case Kind::kAllGather:
      return "all_gather";
    case Kind::kBroadcast:
      return "broadcast";
    case Kind::kBarrier:
      return "barrier";
    case Kind::kSplit:
      return "split";
  }
  throw InternalError("local communicator: unknown collective");
}

void copy(BufferView to, BufferView from) {
  if (from.bytes() > 0) std::memcpy(to.data, from.data, static_cast<size_t>(from.bytes()));
}

/// Part index of a buffer that holds equal parts of count elements.
BufferView part(BufferView whole, int index, int64_t count) {
  return {static_cast<char*>(whole.data) + index * count * size_of(whole.dtype), count,
          whole.dtype};
}

/// The sum over members, in rank order, of the given views.
std::vector<char> reduce_all(const std::vector<BufferView>& views, ReduceOp op) {
  std::vector<char> result(static_cast<size_t>(views.front().bytes()));
  const BufferView view = {result.data(), views.front().count, views.front().dtype};
  copy(view, views.front());
  for (size_t r = 1; r < views.size(); ++r) reduce_into(view, views[r], op);
  return result;
}

}  // namespace

std::string to_string(const LocalRound::Signature& signature) {
  std::string text = name_of(signature.kind);
  if (signature.kind == Kind::kBarrier || signature.kind == Kind::kSplit) return text;
  text +=
      " of " + std::to_string(signature.count) + " " + std::string(kente::name_of(signature.dtype));
  if (signature.kind == Kind::kBroadcast) text += " from rank " + std::to_string(signature.root);
  return text;
}

LocalWorld::LocalWorld(std::shared_ptr<LocalJob> job, int size)
    : job_(std::move(job)), size_(size), next_round_(static_cast<size_t>(size), 0) {}

std::shared_ptr<LocalPost> LocalWorld::send(BufferView data, int from, int to, int tag) {
  return pair(receives_, sends_, {from, to, tag}, data);
}

std::shared_ptr<LocalPost> LocalWorld::receive(BufferView data, int from, int to, int tag) {
  return pair(sends_, receives_, {from, to, tag}, data);
}

std::shared_ptr<LocalPost> LocalWorld::pair(Box& other, Box& own, const Route& route,
                                            BufferView data) {
  auto mine = std::make_shared<LocalPost>();
  mine->data = data;
  std::deque<std::shared_ptr<LocalPost>>& waiting = other[route];
  if (waiting.empty()) {
    own[route].push_back(mine);
    return mine;
  }
  const std::shared_ptr<LocalPost> theirs = waiting.front();
  waiting.pop_front();
  const BufferView from = &other == &sends_ ? theirs->data : data;
  const BufferView to = &other == &sends_ ? data : theirs->data;
  if (from.count != to.count || from.dtype != to.dtype) {
    const auto [source, destination, tag] = route;
    mine->mistake = theirs->mistake =
        "rank " + std::to_string(destination) + " got " + std::to_string(from.count) + " " +
        std::string(name_of(from.dtype)) + " from rank " + std::to_string(source) + ", want " +
        std::to_string(to.count) + " " + std::string(name_of(to.dtype)) + " (tag " +
        std::to_string(tag) + ")";
  } else {
    copy(to, from);
    mine->done = theirs->done = true;
  }
  job_->changed.notify_all();
  return mine;
}

std::shared_ptr<LocalRound> LocalWorld::join(int rank, const LocalRound::Signature& signature,
                                             LocalRound::Member member) {
  const int64_t number = next_round_[static_cast<size_t>(rank)]++;
  std::shared_ptr<LocalRound>& entry = rounds_[number];
  if (!entry) entry = std::make_shared<LocalRound>(signature, size_);
  std::shared_ptr<LocalRound> round = entry;
  std::string mistake, lost;
  for (const LocalRound::Member& other : round->members) {
    if (!other.post) continue;
    if (!other.post->mistake.empty()) mistake = other.post->mistake;
    if (!other.post->lost.empty()) lost = other.post->lost;
  }
  if (!(round->signature == signature))
    mistake = "rank " + std::to_string(rank) + " calls " + to_string(signature) +
              ", another rank " + to_string(round->signature);
  round->members[static_cast<size_t>(rank)] = std::move(member);
  ++round->arrived;
  for (LocalRound::Member& each : round->members) {
    if (!each.post) continue;
    each.post->mistake = mistake;
    each.post->lost = lost;
  }
  if (round->arrived == size_) {
    if (mistake.empty() && lost.empty()) carry_out(*round);
    rounds_.erase(number);
  }
  job_->changed.notify_all();
  return round;
}

void LocalWorld::carry_out(LocalRound& round) {
  const LocalRound::Signature& agreed = round.signature;
  std::vector<LocalRound::Member>& members = round.members;
  std::vector<BufferView> inputs;
  switch (agreed.kind) {
    case Kind::kAllReduce: {
      if (size_ == 1) break;  // a run without mpirun: no copy of what may be the whole model
      for (const LocalRound::Member& member : members) inputs.push_back(member.input);
      std::vector<char> sum = reduce_all(inputs, agreed.op);
      for (const LocalRound::Member& member : members)
        copy(member.output, {sum.data(), agreed.count, agreed.dtype});
      break;
    }
    case Kind::kReduceScatter:
      for (int r = 0; r < size_; ++r) {
        inputs.clear();
        for (const LocalRound::Member& member : members)
          inputs.push_back(part(member.input, r, agreed.count));
        std::vector<char> sum = reduce_all(inputs, agreed.op);
        copy(members[static_cast<size_t>(r)].output, {sum.data(), agreed.count, agreed.dtype});
      }
      break;
    case Kind::kAllGather:
      for (const LocalRound::Member& member : members)
        for (int r = 0; r < size_; ++r)
          copy(part(member.output, r, agreed.count), members[static_cast<size_t>(r)].input);
      break;
    case Kind::kBroadcast:
      for (int r = 0; r < size_; ++r)
        if (r != agreed.root)
          copy(members[static_cast<size_t>(r)].output,
               members[static_cast<size_t>(agreed.root)].input);
      break;
    case Kind::kBarrier:
      break;
    case Kind::kSplit:
      carry_out_split(round);
      break;
  }
  for (LocalRound::Member& member : members) member.post->done = true;
}

void LocalWorld::carry_out_split(LocalRound& round) {
  std::map<int, std::set<std::pair<int, int>>> colors;  // color -> (key, rank)
  for (int r = 0; r < size_; ++r) {
    const LocalRound::Member& member = round.members[static_cast<size_t>(r)];
    if (member.color >= 0) colors[member.color].insert({member.key, r});
  }
  for (const auto& [color, ranks] : colors) {
    const auto world = std::make_shared<LocalWorld>(job_, static_cast<int>(ranks.size()));
    int next = 0;
    for (const auto& [key, rank] : ranks) {
      LocalRound::Member& member = round.members[static_cast<size_t>(rank)];
      member.world = world;
      member.rank = next++;
    }
  }
}

void LocalWorld::withdraw(const std::shared_ptr<LocalPost>& post, int rank) {
  for (Box* box : {&sends_, &receives_})
    for (auto& [route, waiting] : *box)
      waiting.erase(std::remove(waiting.begin(), waiting.end(), post), waiting.end());
  for (auto& [number, round] : rounds_) {
    const std::vector<LocalRound::Member>& members = round->members;
    if (members[static_cast<size_t>(rank)].post != post) continue;
    for (const LocalRound::Member& member : members)
      if (member.post)
        member.post->lost =
            to_string(round->signature) + ": rank " + std::to_string(rank) + " gave up waiting";
  }
  job_->changed.notify_all();
}

}  // namespace kente
