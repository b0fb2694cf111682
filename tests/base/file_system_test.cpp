#include "csrc/base/file_system.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>

#include "csrc/base/errors.h"
#include "tests/support/temporary_directory.h"

namespace kente {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr int64_t kCap = 1 << 20;

class PosixFileSystemTest : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) {
    const auto file = files_->create(directory_ / name);
    file->append(text.data(), static_cast<int64_t>(text.size()));
    file->close();
  }
  std::string read(const std::string& name) { return read_text_file(directory_ / name, kCap); }

  TemporaryDirectory directory_;
  std::unique_ptr<FileSystem> files_ = posix_file_system();
};

template <typename ErrorType>
std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const ErrorType& failure) {
    return failure.what();
  }
  return "no failure";
}

TEST_F(PosixFileSystemTest, ReadsBackWhatWasWrittenInPieces) {
  const auto file = files_->create(directory_ / "a");
  file->append("one ", 4);
  file->append("two", 3);
  file->sync();
  file->close();
  EXPECT_EQ(read("a"), "one two");
}

TEST_F(PosixFileSystemTest, CreateRefusesAnExistingFile) {
  write("a", "old");
  EXPECT_THAT(message_of<StorageError>([&] { files_->create(directory_ / "a"); }),
              AllOf(HasSubstr(directory_ / "a"), HasSubstr("cannot create")));
  EXPECT_EQ(read("a"), "old");
}

TEST_F(PosixFileSystemTest, OpenAppendCreatesAndThenContinues) {
  for (const char* const line : {"1\n", "2\n"}) {
    const auto file = files_->open_append(directory_ / "log");
    file->append(line, 2);
    file->close();
  }
  EXPECT_EQ(read("log"), "1\n2\n");
}

TEST_F(PosixFileSystemTest, ReadAtGivesExactlyTheBytesAskedFor) {
  write("a", "0123456789");
  const auto file = files_->open(directory_ / "a");
  EXPECT_EQ(file->size(), 10);
  char bytes[4] = {};
  file->read_at(6, bytes, 4);
  EXPECT_EQ(std::string(bytes, 4), "6789");
}

TEST_F(PosixFileSystemTest, ReadAtBeyondTheEndIsAStorageErrorThatNamesWhereItEnds) {
  write("a", "0123456789");
  const auto file = files_->open(directory_ / "a");
  char bytes[8] = {};
  EXPECT_THAT(message_of<StorageError>([&] { file->read_at(6, bytes, 8); }),
              HasSubstr("a: ends at byte 10"));
}

TEST_F(PosixFileSystemTest, OpenRefusesWhatIsNotARegularFile) {
  write("a", "x");
  ASSERT_EQ(::symlink((directory_ / "a").c_str(), (directory_ / "link").c_str()), 0);
  ASSERT_EQ(::mkfifo((directory_ / "fifo").c_str(), 0600), 0);
  EXPECT_THROW(files_->open(directory_ / "link"), StorageError);
  EXPECT_THROW(files_->open(directory_ / "fifo"), StorageError);
  EXPECT_THROW(files_->open(directory_.path()), StorageError);
  EXPECT_THROW(files_->open(directory_ / "missing"), StorageError);
}

TEST_F(PosixFileSystemTest, AFullDiskIsAStorageErrorThatSaysSo) {
  if (::access("/dev/full", W_OK) != 0) GTEST_SKIP() << "this machine has no /dev/full";
  const auto file = files_->open_append("/dev/full");
  EXPECT_THAT(message_of<StorageError>([&] { file->append("x", 1); }),
              AllOf(HasSubstr("/dev/full: cannot write"), HasSubstr("No space left")));
}

TEST_F(PosixFileSystemTest, ExistsSeesEvenALinkThatLeadsNowhere) {
  EXPECT_FALSE(files_->exists(directory_ / "link"));
  ASSERT_EQ(::symlink("nowhere", (directory_ / "link").c_str()), 0);
  EXPECT_TRUE(files_->exists(directory_ / "link"));
}

TEST_F(PosixFileSystemTest, ListIsSortedAndEmptyForAMissingDirectory) {
  write("b", "");
  write("a", "");
  files_->make_directories(directory_ / "c/d");
  EXPECT_THAT(files_->list(directory_.path()), ElementsAre("a", "b", "c"));
  EXPECT_THAT(files_->list(directory_ / "missing"), IsEmpty());
  EXPECT_THROW(files_->list(directory_ / "a"), StorageError);
}

TEST_F(PosixFileSystemTest, MakeDirectoriesAcceptsOnesThatExistAndRefusesAFileInTheWay) {
  files_->make_directories(directory_ / "x/y");
  files_->make_directories(directory_ / "x/y");
  write("file", "");
  EXPECT_THROW(files_->make_directories(directory_ / "file/y"), StorageError);
  EXPECT_THROW(files_->make_directories(directory_ / "file"), StorageError);
}

TEST_F(PosixFileSystemTest, RemoveTakesAFileAndRemoveAllATree) {
  write("a", "");
  files_->remove(directory_ / "a");
  EXPECT_FALSE(files_->exists(directory_ / "a"));
  EXPECT_THROW(files_->remove(directory_ / "a"), StorageError);
  files_->make_directories(directory_ / "t/u");
  write("t/u/v", "");
  files_->remove_all(directory_ / "t");
  EXPECT_FALSE(files_->exists(directory_ / "t"));
  files_->remove_all(directory_ / "t");
}

TEST_F(PosixFileSystemTest, RenameNewRefusesToReplace) {
  write("a", "new");
  write("b", "old");
  EXPECT_THAT(
      message_of<StorageError>([&] { files_->rename_new(directory_ / "a", directory_ / "b"); }),
      AllOf(HasSubstr("rename to " + (directory_ / "b")), HasSubstr("File exists")));
  EXPECT_EQ(read("b"), "old");
  files_->rename_new(directory_ / "a", directory_ / "c");
  EXPECT_EQ(read("c"), "new");
}

TEST_F(PosixFileSystemTest, RenameNewRefusesToReplaceEvenAnEmptyDirectory) {
  files_->make_directories(directory_ / "from");
  files_->make_directories(directory_ / "to");
  EXPECT_THROW(files_->rename_new(directory_ / "from", directory_ / "to"), StorageError);
}

TEST_F(PosixFileSystemTest, RenameOverReplaces) {
  write("a", "new");
  write("b", "old");
  files_->rename_over(directory_ / "a", directory_ / "b");
  EXPECT_EQ(read("b"), "new");
  EXPECT_FALSE(files_->exists(directory_ / "a"));
}

TEST_F(PosixFileSystemTest, SyncDirectoryRefusesAFileAndAMissingOne) {
  files_->sync_directory(directory_.path());
  write("a", "");
  EXPECT_THROW(files_->sync_directory(directory_ / "a"), StorageError);
  EXPECT_THROW(files_->sync_directory(directory_ / "missing"), StorageError);
}

TEST_F(PosixFileSystemTest, ReadTextFileNamesWhatTheUserGotWrong) {
  write("a", "12345");
  EXPECT_EQ(read_text_file(directory_ / "a", 5), "12345");
  EXPECT_THAT(message_of<UsageError>([&] { read_text_file(directory_ / "a", 4); }),
              HasSubstr("5 bytes, at most 4"));
  EXPECT_THAT(message_of<UsageError>([&] { read_text_file(directory_.path(), 4); }),
              HasSubstr("not a file"));
  EXPECT_THAT(message_of<UsageError>([&] { read_text_file(directory_ / "missing", 4); }),
              HasSubstr("No such file"));
}

TEST_F(PosixFileSystemTest, ReadTextFileDoesNotWaitForAPipe) {
  ASSERT_EQ(::mkfifo((directory_ / "fifo").c_str(), 0600), 0);
  EXPECT_THROW(read_text_file(directory_ / "fifo", 4), UsageError);
}

TEST_F(PosixFileSystemTest, WriteTextFileReplacesAndLeavesNothingElse) {
  write("a", "old");
  write("a.tmp", "torn by a crash");
  write_text_file(*files_, directory_ / "a", "new");
  EXPECT_EQ(read("a"), "new");
  EXPECT_THAT(files_->list(directory_.path()), ElementsAre("a"));
}

// Forgets nothing, but notes the order of what was asked of it.
class RecordingFiles : public FileSystem {
 public:
  class File : public WritableFile {
   public:
    explicit File(std::vector<std::string>& calls) : calls_(calls) {}
    void append(const void*, int64_t) override { calls_.push_back("append"); }
    void sync() override { calls_.push_back("sync"); }
    void close() override { calls_.push_back("close"); }

   private:
    std::vector<std::string>& calls_;
  };

  std::unique_ptr<WritableFile> create(const std::string& path) override {
    calls.push_back("create " + path);
    return std::make_unique<File>(calls);
  }
  std::unique_ptr<WritableFile> open_append(const std::string&) override { return nullptr; }
  std::unique_ptr<ReadableFile> open(const std::string&) override { return nullptr; }
  bool exists(const std::string&) override { return false; }
  std::vector<std::string> list(const std::string&) override { return {}; }
  void make_directories(const std::string&) override {}
  void remove(const std::string&) override {}
  void remove_all(const std::string&) override {}
  void rename_new(const std::string&, const std::string&) override {}
  void rename_over(const std::string& from, const std::string& to) override {
    calls.push_back("rename " + from + " " + to);
  }
  void sync_directory(const std::string& path) override { calls.push_back("sync " + path); }

  std::vector<std::string> calls;
};

TEST(WriteTextFile, SyncsBeforeTheRenameAndTheDirectoryAfterIt) {
  RecordingFiles files;
  write_text_file(files, "run/plan.textproto", "text");
  EXPECT_THAT(files.calls,
              ElementsAre("create run/plan.textproto.tmp", "append", "sync", "close",
                          "rename run/plan.textproto.tmp run/plan.textproto", "sync run"));
  files.calls.clear();
  write_text_file(files, "plan", "text");
  EXPECT_EQ(files.calls.back(), "sync .");
}

}  // namespace
}  // namespace kente
