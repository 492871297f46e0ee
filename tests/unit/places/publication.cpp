// Publishing several files together.

#include "support/scratch_folder.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/file.hpp>
#include <filexfer/publication.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace publication_tests {

namespace fs = std::filesystem;
using namespace test;
using filexfer::errc;
using filexfer::publication;
using steps = std::vector<std::string>;

namespace {

constexpr int no_descriptor = 1 << 20;  // flushing it fails with EBADF

/// Records its steps in a list that several share.
class recorded final : public publication {
 public:
  recorded(std::string name, int file, std::vector<int> folders, steps& all)
      : name_{std::move(name)}, file_{file}, folders_{std::move(folders)}, steps_{all} {}

  std::error_code publish_error;

  int file() const noexcept override { return file_; }
  void publish(std::error_code& ec) override {
    ec = publish_error;
    steps_.push_back("publish " + name_);
  }
  void append_folders(std::vector<int>& folders) const override {
    folders.insert(folders.end(), folders_.begin(), folders_.end());
    steps_.push_back("folders " + name_);
  }
  void finish(std::error_code& ec) override {
    steps_.push_back("finish " + name_ + (ec ? " failed" : ""));
  }

 private:
  std::string name_;
  int file_;
  std::vector<int> folders_;
  steps& steps_;
};

struct fixture {
  scratch_folder folder;
  int good = ::open(folder.path().c_str(), O_RDONLY | O_DIRECTORY);
  steps done;

  ~fixture() { ::close(good); }

  std::vector<std::error_code> publish_all(std::vector<publication*> files) const {
    std::vector<std::error_code> errors(files.size());
    filexfer::publish_all(files, errors);
    return errors;
  }
};

}  // namespace

TEST_CASE_FIXTURE(fixture, "files are published in phases: all names before the first folder") {
  recorded a{"a", good, {good}, done};
  recorded b{"b", -1, {}, done};
  recorded c{"c", good, {good, good}, done};
  for (const auto error : publish_all({&a, &b, &c})) CHECK_FALSE(error);
  CHECK(done == steps{"publish a", "publish b", "publish c", "folders a", "folders b", "folders c",
                      "finish a", "finish b", "finish c"});
}

TEST_CASE_FIXTURE(fixture, "a file that can't be flushed gets no name, and the others do") {
  recorded a{"a", no_descriptor, {good}, done};
  recorded b{"b", good, {good}, done};
  const auto errors = publish_all({&a, &b});
  CHECK(errors[0] == std::errc::bad_file_descriptor);
  CHECK_FALSE(errors[1]);
  CHECK(done == steps{"publish b", "folders b", "finish a failed", "finish b"});
}

TEST_CASE_FIXTURE(fixture, "a file that can't get its name has no folder flushed, but finishes") {
  recorded a{"a", good, {no_descriptor}, done};
  a.publish_error = errc::collision;
  const auto errors = publish_all({&a});
  CHECK(errors[0] == errc::collision);
  CHECK(done == steps{"publish a", "finish a failed"});
}

TEST_CASE_FIXTURE(fixture, "a folder that can't be flushed fails the files in it, and no others") {
  recorded a{"a", good, {good}, done};
  recorded b{"b", good, {good, no_descriptor}, done};
  recorded c{"c", good, {no_descriptor}, done};
  recorded d{"d", good, {good}, done};
  const auto errors = publish_all({&a, &b, &c, &d});
  CHECK_FALSE(errors[0]);
  CHECK(errors[1] == std::errc::bad_file_descriptor);
  CHECK(errors[2] == std::errc::bad_file_descriptor);
  CHECK_FALSE(errors[3]);
}

TEST_CASE_FIXTURE(fixture, "a file whose error is set already only finishes") {
  recorded a{"a", good, {good}, done};
  publication* const file = &a;
  std::error_code error = errc::io;
  filexfer::publish_all({&file, 1}, {&error, 1});
  CHECK(error == errc::io);
  CHECK(done == steps{"finish a failed"});
}

TEST_CASE("each of many descriptors is flushed, by one thread or several, and has its own result") {
  const scratch_folder folder;
  std::vector<int> fds;
  for (int i = 0; i < 300; ++i) {
    const auto file = folder / std::to_string(i);
    fds.push_back(i % 7 == 3 ? no_descriptor : ::open(file.c_str(), O_RDWR | O_CREAT, 0600));
    if (i % 7 != 3) REQUIRE(::write(fds.back(), "x", 1) == 1);
  }
  for (const auto slow : {std::chrono::microseconds{0}, std::chrono::microseconds{1'000'000}}) {
    std::vector<std::error_code> results(fds.size());
    filexfer::detail::flush_all(fds, results, slow);
    for (std::size_t i = 0; i < fds.size(); ++i) {
      CAPTURE(i);
      CHECK((results[i] == std::errc::bad_file_descriptor) == (i % 7 == 3));
    }
  }
  for (const int fd : fds) {
    if (fd != no_descriptor) ::close(fd);
  }
  filexfer::detail::flush_all({}, {});
}

TEST_CASE("several file sinks are committed together, and each keeps its policy") {
  const scratch_folder folder;
  write_file(folder / "kept", "before");
  std::vector<filexfer::file_sink> sinks;
  std::error_code ec;
  for (const auto* name : {"a", "b", "kept"}) {
    sinks.emplace_back(folder / name, filexfer::on_existing::keep, ec);
  }
  CHECK(ec == errc::file_exists);
  write_file(folder / "b", "appeared meanwhile");
  std::vector<publication*> files;
  for (auto& sink : sinks) {
    sink.write(as_bytes("bytes"), ec);
    if (auto* const left = sink.begin_commit(ec)) files.push_back(left);
  }
  CHECK(ec);  // of the one that could not be opened
  REQUIRE(files.size() == 2);
  std::vector<std::error_code> errors(2);
  filexfer::publish_all(files, errors);
  CHECK_FALSE(errors[0]);
  CHECK(errors[1] == errc::file_exists);
  sinks.clear();
  CHECK(contents(folder / "a") == "bytes");
  CHECK(contents(folder / "b") == "appeared meanwhile");
  CHECK(contents(folder / "kept") == "before");
  CHECK(std::distance(fs::directory_iterator{folder.path()}, {}) == 3);
}

}  // namespace publication_tests
