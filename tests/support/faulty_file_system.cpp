#include "tests/support/faulty_file_system.h"

#include <algorithm>
#include <cstring>
#include <sstream>

#include "csrc/base/errors.h"

namespace kente {

struct FaultyFileSystem::Node {
  bool directory = false;
  std::string bytes, synced_bytes;
  std::map<std::string, NodePtr> entries, synced_entries;
  size_t clean_bytes = 0;  // what the system takes for written: a sync writes what follows

  void write_out() {
    synced_bytes = bytes;
    clean_bytes = bytes.size();
  }

  void sync() {
    synced_bytes.resize(clean_bytes);
    synced_bytes += bytes.substr(clean_bytes);
    clean_bytes = bytes.size();
  }

  void forget(Unsynced unsynced) {
    if (unsynced == Unsynced::kKept) synced_bytes = bytes;
    if (unsynced != Unsynced::kLost) synced_entries = entries;
    bytes = synced_bytes;
    entries = synced_entries;
    clean_bytes = bytes.size();
    for (auto& [name, node] : entries) node->forget(unsynced);
  }

  void forget_at_random(std::mt19937& random) {
    if (bytes != synced_bytes) {
      const size_t kept = random() % (bytes.size() + 1);
      switch (random() % 4) {
        case 0:
          bytes = synced_bytes;
          break;
        case 1:
          bytes.resize(kept);
          break;
        case 2:
          std::fill(bytes.begin() + static_cast<int64_t>(kept), bytes.end(), '\0');
          break;
        default:
          break;
      }
      write_out();
    }
    std::map<std::string, NodePtr> left;
    for (const auto* all : {&entries, &synced_entries})
      for (const auto& [name, node] : *all) {
        if (left.contains(name)) continue;
        const auto live = entries.find(name), durable = synced_entries.find(name);
        const bool same = live != entries.end() && durable != synced_entries.end() &&
                          live->second == durable->second;
        const auto& taken = same || random() % 2 == 0 ? entries : synced_entries;
        if (const auto found = taken.find(name); found != taken.end()) left.insert(*found);
      }
    entries = synced_entries = left;
    for (auto& [name, node] : entries) node->forget_at_random(random);
  }
};

class FaultyFileSystem::Writable : public WritableFile {
 public:
  Writable(FaultyFileSystem& files, std::string path, NodePtr node)
      : files_(files), path_(std::move(path)), node_(std::move(node)) {}
  void append(const void* data, int64_t bytes) override {
    files_.append_to(*node_, path_, data, bytes);
  }
  void sync() override {
    if (files_.is_due(Fault::kLostSync)) node_->clean_bytes = node_->bytes.size();
    files_.next_operation(path_);
    node_->sync();
  }
  void close() override { files_.next_operation(path_); }

 private:
  FaultyFileSystem& files_;
  std::string path_;
  NodePtr node_;
};

class FaultyFileSystem::Readable : public ReadableFile {
 public:
  Readable(std::string path, NodePtr node) : path_(std::move(path)), node_(std::move(node)) {}
  int64_t size() const override { return static_cast<int64_t>(node_->bytes.size()); }
  void read_at(int64_t offset, void* data, int64_t bytes) const override {
    if (offset < 0 || offset + bytes > size()) throw StorageError(path_ + ": read beyond the end");
    std::memcpy(data, node_->bytes.data() + offset, static_cast<size_t>(bytes));
  }

 private:
  std::string path_;
  NodePtr node_;
};

FaultyFileSystem::FaultyFileSystem() : root_(std::make_shared<Node>()) { root_->directory = true; }
FaultyFileSystem::~FaultyFileSystem() = default;

void FaultyFileSystem::set_fault(int64_t index, Fault fault) {
  operations_ = 0;
  fault_at_ = index;
  fault_ = fault;
  happened_ = false;
}

void FaultyFileSystem::power_cycle(Unsynced unsynced) {
  root_->forget(unsynced);
  power_on();
}

void FaultyFileSystem::power_cycle_at_random(std::mt19937& random) {
  root_->forget_at_random(random);
  power_on();
}

void FaultyFileSystem::power_on() {
  powered_ = true;
  full_ = false;
  fault_at_ = -1;
}

void FaultyFileSystem::flip_bit(const std::string& path, int64_t byte, int bit) {
  const NodePtr node = find(path);
  KENTE_CHECK(node && !node->directory, path);
  const auto at = static_cast<size_t>(byte);
  node->bytes.at(at) = static_cast<char>(node->bytes.at(at) ^ (1 << bit));
  node->write_out();
}

bool FaultyFileSystem::next_operation(const std::string& path, bool grows) {
  if (!powered_) throw StorageError(path + ": no power");
  const bool due = operations_++ == fault_at_;
  if (full_ && grows) throw StorageError(path + ": no space left");
  if (!due) return false;
  happened_ = true;
  switch (fault_) {
    case Fault::kFail:
    case Fault::kLostSync:
      throw StorageError(path + ": injected failure");
    case Fault::kFull:
      full_ = true;
      if (grows) return true;
      throw StorageError(path + ": no space left");
    case Fault::kTorn:
      powered_ = false;
      return true;
    case Fault::kPowerCut:
      powered_ = false;
      break;
  }
  throw StorageError(path + ": power cut");
}

void FaultyFileSystem::append_to(Node& node, const std::string& path, const void* data,
                                 int64_t bytes) {
  const bool torn = next_operation(path, true);
  node.bytes.append(static_cast<const char*>(data), static_cast<size_t>(torn ? bytes / 2 : bytes));
  if (torn) throw StorageError(path + ": torn write");
}

FaultyFileSystem::NodePtr FaultyFileSystem::find(const std::string& path) const {
  NodePtr node = root_;
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, '/');) {
    if (part.empty()) continue;
    const auto next = node->entries.find(part);
    if (next == node->entries.end()) return nullptr;
    node = next->second;
  }
  return node;
}

FaultyFileSystem::NodePtr FaultyFileSystem::find_directory(const std::string& path) const {
  NodePtr node = find(path);
  if (!node || !node->directory) throw StorageError(path + ": no such directory");
  return node;
}

FaultyFileSystem::NodePtr FaultyFileSystem::parent_of(const std::string& path,
                                                      std::string& name) const {
  const size_t slash = path.rfind('/');
  KENTE_CHECK(slash != std::string::npos && slash + 1 < path.size(), "an absolute path: " + path);
  name = path.substr(slash + 1);
  return find_directory(path.substr(0, slash));
}

std::unique_ptr<WritableFile> FaultyFileSystem::create(const std::string& path) {
  if (next_operation(path, true)) throw StorageError(path + ": cut short");
  std::string name;
  const NodePtr parent = parent_of(path, name);
  const auto [entry, fresh] = parent->entries.emplace(name, std::make_shared<Node>());
  if (!fresh) throw StorageError(path + ": exists");
  return std::make_unique<Writable>(*this, path, entry->second);
}

std::unique_ptr<WritableFile> FaultyFileSystem::open_append(const std::string& path) {
  if (const NodePtr node = find(path)) return std::make_unique<Writable>(*this, path, node);
  return create(path);
}

std::unique_ptr<ReadableFile> FaultyFileSystem::open(const std::string& path) {
  NodePtr node = find(path);
  if (!powered_ || !node || node->directory) throw StorageError(path + ": cannot open");
  return std::make_unique<Readable>(path, std::move(node));
}

bool FaultyFileSystem::exists(const std::string& path) { return find(path) != nullptr; }

std::vector<std::string> FaultyFileSystem::list(const std::string& directory) {
  std::vector<std::string> names;
  const NodePtr node = find(directory);
  if (!node) return names;
  if (!node->directory) throw StorageError(directory + ": not a directory");
  for (const auto& [name, entry] : node->entries) names.push_back(name);
  return names;
}

void FaultyFileSystem::make_directories(const std::string& path) {
  NodePtr node = root_;
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, '/');) {
    if (part.empty()) continue;
    if (!node->entries.contains(part)) {
      if (next_operation(path, true)) throw StorageError(path + ": cut short");
      node->entries[part] = std::make_shared<Node>();
      node->entries[part]->directory = true;
    }
    node = node->entries[part];
  }
}

void FaultyFileSystem::remove(const std::string& path) {
  if (next_operation(path)) throw StorageError(path + ": power cut");
  std::string name;
  if (parent_of(path, name)->entries.erase(name) == 0) throw StorageError(path + ": not found");
  full_ = false;
}

void FaultyFileSystem::remove_all(const std::string& path) {
  const NodePtr node = find(path);
  if (!node) return;
  if (node->directory)
    for (const std::string& name : list(path)) remove_all(path + "/" + name);
  remove(path);
}

void FaultyFileSystem::rename_new(const std::string& from, const std::string& to) {
  if (exists(to)) throw StorageError(to + ": exists");
  rename_over(from, to);
}

void FaultyFileSystem::rename_over(const std::string& from, const std::string& to) {
  if (next_operation(from)) throw StorageError(from + ": power cut");
  std::string from_name, to_name;
  const NodePtr from_parent = parent_of(from, from_name), to_parent = parent_of(to, to_name);
  const auto entry = from_parent->entries.find(from_name);
  if (entry == from_parent->entries.end()) throw StorageError(from + ": not found");
  const NodePtr node = entry->second;
  from_parent->entries.erase(entry);
  to_parent->entries[to_name] = node;
}

void FaultyFileSystem::sync_directory(const std::string& path) {
  if (next_operation(path)) throw StorageError(path + ": power cut");
  const NodePtr node = find_directory(path);
  node->synced_entries = node->entries;
}

}  // namespace kente
