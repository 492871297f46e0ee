// Uploads of files that the server does not have.

#include "support/pool_fixture.hpp"
#include "support/scratch_folder.hpp"
#include "support/store_helpers.hpp"
#include "support/virtual_timer.hpp"

#include <filexfer/any_digest.hpp>
#include <filexfer/directory_store.hpp>
#include <filexfer/error.hpp>
#include <filexfer/file.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/transfer_pool.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace transfer_pool_missing_tests {

using namespace test;
using filexfer::errc;

namespace {

/// Uploads files to the server.
void store(pool_fixture& f, std::vector<memory_file> files) {
  f.upload(files);
  f.run();
  REQUIRE(f.totals.failed == 0);
  REQUIRE(f.ended == std::error_code{});
  f.reports.clear();
}

std::size_t bytes_moved(pool_fixture& f) { return f.pool->progress().now().bytes; }

/// The first `good` files of some; then it throws.
class throwing_range {
 public:
  throwing_range(const std::vector<memory_file>& files, std::size_t good)
      : files_{&files}, good_{good} {}

  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = memory_file;
    using difference_type = std::ptrdiff_t;

    explicit iterator(throwing_range& range) : range_{&range} { ++*this; }
    memory_file& operator*() const { return range_->current_; }
    iterator& operator++() {
      if (range_->returned_ == range_->good_) {
        throw std::system_error{std::make_error_code(std::errc::io_error)};
      }
      range_->current_ = (*range_->files_)[range_->returned_++];
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return false; }

   private:
    throwing_range* range_;
  };

  iterator begin() { return iterator{*this}; }
  std::default_sentinel_t end() const { return {}; }

 private:
  const std::vector<memory_file>* files_;
  std::size_t good_;
  std::size_t returned_ = 0;
  memory_file current_;
};

/// A file with another text each time it is opened; the last one stays.
struct changing_file {
  std::vector<std::string> texts;
  std::string file_name = "changing";
  std::size_t opened = 0;

  const std::string& name() const noexcept { return file_name; }
  filexfer::memory_source open(std::error_code& ec) {
    ec.clear();
    return filexfer::memory_source{texts[std::min(opened++, texts.size() - 1)]};
  }
};

}  // namespace

TEST_CASE("each missing file is sent once, and every name is added") {
  for (const std::size_t connections : {1u, 4u}) {
    CAPTURE(connections);
    pool_fixture f{{.connections = connections}};
    const auto files = some_files(300, 1000);
    store(f, {files.begin(), files.begin() + 100});
    const std::size_t before = bytes_moved(f);
    std::vector<memory_file> wanted = files;
    wanted.push_back({"a twin of the first", files[0].text});
    wanted.push_back({"a twin of the last", files[299].text});
    f.upload_missing(wanted);
    f.run();
    CHECK(f.ended == std::error_code{});
    CHECK(f.totals.transferred == 200);
    CHECK(f.totals.already_present == 102);
    CHECK(bytes_moved(f) - before == 200 * 1000);
    CHECK(entries(f.server.store).size() == 302);
    for (const auto& [name, times] : f.reports) CHECK(times == 1);
  }
}

TEST_CASE("a server that does not tell what it holds is sent every file, unhashed") {
  pool_fixture f;
  f.server.options.shortcuts = false;
  auto files = some_files(300, 10);
  store(f, {files.begin(), files.begin() + 100});
  f.upload_missing(files);
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.transferred == 300);
  CHECK(f.totals.already_present == 0);
  CHECK(entries(f.server.store).size() == 300);
  for (const memory_file& file : files) CHECK(file.opened == 1);  // to send it
}

TEST_CASE("a server is asked for the first files before the last ones are hashed") {
  pool_fixture f;
  auto files = some_files(1000, 10);
  store(f, files);
  const auto opened = [&] {
    return std::accumulate(files.begin(), files.end(), 0,
                           [](int sum, const memory_file& file) { return sum + file.opened; });
  };
  int opened_before = -1;  // the first answer
  f.on_report = [&](const auto& result) {
    CHECK_FALSE(result.failure);
    if (opened_before < 0) opened_before = opened();
  };
  f.upload_missing(files);
  f.run();
  CHECK(f.totals.already_present == 1000);
  CHECK(opened() == 1000);
  CHECK(opened_before < 900);
}

TEST_CASE("a file that changed after it was hashed is read again, and sent") {
  pool_fixture f;
  std::vector<changing_file> files{{{"old text", "new text"}}};
  f.pool->async_upload_missing(
      files, [&](const filexfer::file_result<changing_file>& r) { CHECK(!r.failure); }, f.on_end());
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.transferred == 1);
  const auto entries = test::entries(f.server.store);
  REQUIRE(entries.size() == 1);
  CHECK(entries[0].starts_with(id_of("new text").to_string()));
}

TEST_CASE(
    "a file that changed between two attempts is read again, and sent with its new contents") {
  const scratch_folder folder;
  using store_type = filexfer::directory_store<>;
  basic_pool_fixture<virtual_timer, basic_pipe_server<virtual_timer, store_type>> f{
      {.client = {.max_nowait_size = 1000}}, folder.path() / "store"};
  f.server.break_after = {400'000};
  auto files = some_files(1, 1'000'000);
  const std::string later = noise(1'000'000, 99);
  f.upload(files);
  while (f.events.empty() && !f.ended) f.run_steps(1);
  files[0].text = later;
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.transferred == 1);
  CHECK(entries(f.server.store).front().starts_with(id_of(later).to_string()));
}

TEST_CASE("a file that does not match its element's id is refused, and not retried") {
  struct claiming_file : memory_file {
    filexfer::any_digest id() const { return id_of("something else"); }
  };
  pool_fixture f;
  std::vector<claiming_file> files{{{"file", "text"}}};
  std::error_code error;
  f.pool->async_upload_missing(
      files, [&](const filexfer::file_result<claiming_file>& r) { error = r.failure.error; },
      f.on_end());
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.failed == 1);
  CHECK(error == errc::mismatch);
  CHECK(files[0].opened == 2);
  CHECK(entries(f.server.store).empty());
}

TEST_CASE("an upload of missing files loses none over a connection that breaks at any byte") {
  const auto files = some_files(4, 40);
  for (std::uint64_t offset = 0; offset < 900; offset += 3) {
    CAPTURE(offset);
    pool_fixture f;
    store(f, {files.begin(), files.begin() + 1});
    f.pool.emplace(basic_pipe_connector<virtual_timer>{&f.server}, filexfer::pool_options{});
    f.server.break_after = {1000, offset};
    f.server.break_after.pop_front();
    auto wanted = files;
    f.upload_missing(wanted);
    f.run();
    if (f.ended != std::error_code{}) {
      CHECK(f.totals.transferred == 0);
      continue;
    }
    CHECK(f.totals.transferred + f.totals.already_present == 4);
    CHECK(all_stored(f, files));
    for (const auto& [name, times] : f.reports) CHECK(times == 1);
  }
}

TEST_CASE("names that the server refuses, and files that can't be read, fail alone") {
  pool_fixture f;
  auto files = some_files(5);
  files[1].file_name = "../up";
  files[3].open_error = errc::store_failed;
  f.upload_missing(files);
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.transferred == 3);
  CHECK(f.totals.failed == 2);
  CHECK(f.failures.at("../up").error == errc::bad_name);
  CHECK(f.failures.at("file 3").error == errc::store_failed);
}

TEST_CASE("a cached digest is not computed again, and a wrong one is removed from the cache") {
  const scratch_folder folder;
  write_file(folder / "file", "text");
  struct cache {
    std::optional<filexfer::any_digest> find(int, std::string_view) const {
      ++found;
      return known;
    }
    void add(int, std::string_view, std::chrono::system_clock::time_point,
             const filexfer::any_digest& digest) {
      known = digest;
      ++added;
    }
    void forget(int, std::string_view) {
      known.reset();
      ++forgotten;
    }
    std::optional<filexfer::any_digest> known;
    mutable int found = 0;
    int added = 0;
    int forgotten = 0;
  } digests;
  struct disk_file {
    std::filesystem::path path;
    std::string name() const { return "file"; }
    filexfer::file_source open(std::error_code& ec) const { return {path, ec}; }
  };
  pool_fixture f;
  f.pool->use_digest_cache(digests);
  const auto upload = [&] {
    std::vector<disk_file> files{{folder / "file"}};
    f.pool->async_upload_missing(
        files, [](const filexfer::file_result<disk_file>& r) { CHECK(!r.failure); }, f.on_end());
    f.run();
    CHECK(f.ended == std::error_code{});
  };
  const filexfer::any_digest right{id_of("text")};
  digests.known = id_of("something else");
  upload();
  CHECK(f.totals.transferred == 1);
  CHECK(digests.forgotten == 1);
  CHECK(digests.added == 1);
  CHECK(digests.known == right);
  upload();
  CHECK(f.totals.already_present == 1);
  CHECK(digests.added == 1);
}

TEST_CASE("an exception from a range ends the job, at any of its files") {
  for (const std::size_t good : {0u, 1u, 2u, 5u}) {
    CAPTURE(good);
    pool_fixture f;
    auto files = some_files(10);
    throwing_range range{files, good};
    f.upload(range);
    f.run();
    CHECK(f.ended == std::make_error_code(std::errc::io_error));
    CHECK(f.totals.transferred + f.totals.failed == good);
    for (const auto& [name, times] : f.reports) CHECK(times == 1);
  }
}

}  // namespace transfer_pool_missing_tests
