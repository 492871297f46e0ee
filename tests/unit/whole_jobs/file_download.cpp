// Downloads to files by a pool.

#include "support/pool_fixture.hpp"
#include "support/scratch_folder.hpp"

#include <filexfer/any_digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/file.hpp>
#include <filexfer/file_download.hpp>
#include <filexfer/transfer_pool.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace file_download_tests {

namespace fs = std::filesystem;
using namespace test;
using filexfer::any_digest;
using filexfer::download_target;
using filexfer::errc;
using filexfer::file_download;
using filexfer::listed_file;
using filexfer::on_existing;

namespace {

const filexfer::file_time a_time{std::chrono::seconds{1'000'000'000}};

struct fixture : pool_fixture {
  fixture() {
    std::vector<memory_file> files{{"a/b", "first"}, {"c", "second"}, {"large", large}};
    upload(files);
    run();
    REQUIRE(totals.transferred == 3);
  }

  /// Downloads, and stores the error of each file in `results`.
  void fetch(std::vector<file_download>& files) {
    results.clear();
    pool->async_download(
        files,
        [this](const filexfer::file_result<file_download>& r) {
          results[r.index] = r.failure.error;
        },
        on_end());
    run();
    REQUIRE(ended == std::error_code{});
  }

  static any_digest id(const std::string& text) { return id_of(text); }
  fs::path path(const std::string& name) const { return folder.path() / name; }

  std::string large = noise(300'000);
  scratch_folder folder;
  std::map<std::size_t, std::error_code> results;
};

}  // namespace

TEST_CASE("files are saved in a folder under their names in the list or on the server") {
  fixture f;
  const auto folder = download_target::folder(f.folder.path());
  std::vector<file_download> files{{folder, listed_file{f.id("first"), "other", 5, a_time}},
                                   {folder, f.id("second")},
                                   {folder, f.id("first")}};
  CHECK(files[0].path() == f.path("other"));
  CHECK(files[1].path().empty());
  f.fetch(files);
  CHECK(f.totals.transferred == 3);
  CHECK(contents(f.path("other")) == "first");
  CHECK(contents(f.path("c")) == "second");
  CHECK(contents(f.path("a/b")) == "first");
  CHECK(files[1].path() == f.path("c"));
  CHECK(filexfer::file_source{f.path("other")}.modified() == a_time);
}

TEST_CASE("a named target file is used whatever the name on the server is") {
  fixture f;
  std::vector<file_download> files{{download_target::file(f.path("here")), f.id("first")}};
  CHECK(files[0].path() == f.path("here"));
  f.fetch(files);
  CHECK(contents(f.path("here")) == "first");
}

TEST_CASE("an identical file gets the listed time, and another one is replaced only if asked for") {
  fixture f;
  write_file(f.path("c"), "second");
  write_file(f.path("x"), "mine!");
  for (const auto policy : {on_existing::keep, on_existing::replace}) {
    const auto folder = download_target::folder(f.folder.path(), policy);
    std::vector<file_download> files{{folder, listed_file{f.id("second"), "c", 6, a_time}},
                                     {folder, listed_file{f.id("first"), "x", 5, {}}}};
    f.fetch(files);
    const bool keeps = policy == on_existing::keep;
    CHECK(f.totals.already_present == 1);
    CHECK(f.results.at(1) == (keeps ? make_error_code(errc::file_exists) : std::error_code{}));
    CHECK(contents(f.path("x")) == (keeps ? "mine!" : "first"));
    CHECK(filexfer::file_source{f.path("c")}.modified() == a_time);
  }
}

TEST_CASE("a part is kept of a new file of 64 KiB, of one that replaces, not of a smaller one") {
  const scratch_folder folder;
  if (!filexfer::tree_root{folder.path()}.supports_nameless_files()) return;
  const auto parts_after = [&](std::uint64_t size, on_existing policy) {
    const auto target = download_target::folder(folder.path(), policy);
    file_download file{target, listed_file{id_of("x"), "name", size, {}, {}}};
    std::error_code ec;
    {
      auto sink = file.open(ec);
      REQUIRE_FALSE(ec);
      sink.write(as_bytes("x"), ec);
      sink.keep();
    }
    return fs::remove(file.part_path());
  };
  CHECK(parts_after(64 * 1024, on_existing::keep));
  CHECK_FALSE(parts_after(64 * 1024 - 1, on_existing::keep));
  CHECK(parts_after(1, on_existing::replace));
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("an interrupted attempt leaves a partial file that another process resumes") {
  fixture f;
  for (const bool in_folder : {true, false}) {
    const auto target = in_folder ? download_target::folder(f.folder.path())
                                  : download_target::file(f.path("single"));
    const auto part = f.path(".filexfer-" + f.id(f.large).to_string() + ".part");
    const auto connect = [&] {
      f.pool.emplace(pool_fixture::connector_type{&f.server},
                     filexfer::pool_options{.retry_for = {}, .max_batched_size = 0});
    };
    f.server.end_read_after = {200'000};
    connect();
    std::vector<file_download> files{{target, listed_file{f.id(f.large), "large", 300'000, {}}}};
    f.fetch(files);
    CHECK(f.totals.failed == 1);
    CHECK(fs::file_size(part) > 190'000);
    connect();
    f.fetch(files);
    CHECK(f.totals.transferred == 1);
    CHECK(f.pool->progress().now().bytes < 110'000);
    CHECK(contents(f.path(in_folder ? "large" : "single")) == f.large);
    CHECK(!fs::exists(part));
  }
}

TEST_CASE("a file known only by its id resumes once an attempt has learnt its name") {
  fixture f;
  f.pool.emplace(pool_fixture::connector_type{&f.server}, filexfer::pool_options{});
  const auto before = f.server.connections;
  std::vector<file_download> files{{download_target::folder(f.folder.path()), f.id(f.large)}};
  f.server.end_read_after = {100'000, 200'000, 200'000};
  f.fetch(files);
  CHECK(f.totals.transferred == 1);
  // The first attempt leaves nothing, the second leaves what the third resumes.
  CHECK(f.server.connections == before + 3);
  CHECK(contents(f.path("large")) == f.large);
}

TEST_CASE("a missing folder is reported at once, and an invalid name as its file's result") {
  fixture f;
  std::error_code ec;
  download_target::folder(f.path("nowhere"), on_existing::keep, ec);
  CHECK(ec == std::errc::no_such_file_or_directory);
  CHECK_THROWS_AS(download_target::folder(f.path("nowhere")), std::system_error);
  std::vector<file_download> files{
      {download_target::folder(f.folder.path()), listed_file{f.id("first"), "../x", 5, {}}}};
  f.fetch(files);
  CHECK(f.results.at(0) == errc::bad_name);
  CHECK(!fs::exists(f.path("../x")));
}

TEST_CASE("of several downloads to one path one is saved, and the others report why they are not") {
  fixture f;
  const auto folder = download_target::folder(f.folder.path());
  const listed_file first{f.id("first"), "x", 5, {}};
  const listed_file second{f.id("second"), "x", 6, {}};
  std::vector<file_download> same{{folder, first}, {folder, first}, {folder, first}};
  f.fetch(same);
  CHECK(f.totals.transferred == 1);
  CHECK(f.totals.already_present == 2);
  std::vector<file_download> others{{folder, second}, {folder, first}};
  f.fetch(others);
  CHECK(f.results.at(0) == errc::file_exists);
  CHECK(f.totals.already_present == 1);
  CHECK(contents(f.path("x")) == "first");
}

}  // namespace file_download_tests
