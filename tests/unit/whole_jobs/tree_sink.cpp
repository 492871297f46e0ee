#include "support/scratch_folder.hpp"
#include "support/spare_descriptors.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/md5.hpp>
#include <filexfer/tree_sink.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace tree_sink_tests {

namespace fs = std::filesystem;
using namespace test;
using filexfer::errc;
using filexfer::file_time;
using filexfer::on_existing;
using filexfer::tree_sink;
using file_info = filexfer::file_info<filexfer::md5::digest_type>;

namespace {

/// The number of files and folders below a folder.
std::size_t entries_below(const fs::path& folder) {
  const fs::recursive_directory_iterator all{folder};
  return static_cast<std::size_t>(std::distance(fs::begin(all), fs::end(all)));
}

/// How many names a file has there until it is complete.
std::size_t names_of_incomplete_file(const fs::path& folder) {
  return filexfer::tree_root{folder}.supports_nameless_files() ? 0 : 1;
}

/// Writes a file to `sink`, and returns the first error.
std::error_code fetch(tree_sink& sink, std::string_view name, std::string_view bytes) {
  std::error_code ec;
  sink.open(name, ec);
  if (!ec) sink.write(as_bytes(bytes), ec);
  if (!ec) sink.commit(ec);
  return ec;
}

timespec modification_time(const fs::path& file) {
  struct stat status {};
  REQUIRE(::lstat(file.c_str(), &status) == 0);
  return status.st_mtim;
}

TEST_CASE("one sink stores several files below its folder, one after the other") {
  const scratch_folder folder;
  tree_sink sink{folder.path()};
  const std::string longest = std::string(120, 'd') + '/' + std::string(134, 'f');
  std::string deepest = "1";
  while (deepest.size() < 254) deepest += "/1";
  for (const std::string& name : {std::string{"a"}, std::string{"b/c/d"}, std::string{"b/c/e"},
                                  std::string{"b/..."}, longest, "deep" + deepest.substr(4)}) {
    CAPTURE(name);
    CHECK_FALSE(fetch(sink, name, "bytes of " + name));
    CHECK(contents(folder / name) == "bytes of " + name);
  }
  CHECK(fs::status(folder / "b").permissions() == fs::status(folder / "b/c").permissions());
}

TEST_CASE("an announced file gets the announced name and time") {
  const scratch_folder folder;
  tree_sink sink{folder.path()};
  std::error_code ec;
  file_info file{{}, "a/b", 5, file_time{std::chrono::nanoseconds{1'700'000'000'123'456'789}}};
  sink.announce(file, ec);
  REQUIRE_FALSE(ec);
  sink.write(as_bytes("bytes"), ec);
  CHECK_FALSE(fs::exists(folder / "a/b"));
  sink.commit(ec);
  CHECK_FALSE(ec);
  CHECK(modification_time(folder / "a/b").tv_sec == 1'700'000'000);
  CHECK(modification_time(folder / "a/b").tv_nsec == 123'456'789);
  // The next file does not inherit the time.
  file = {{}, "a/c", 0, std::nullopt};
  sink.announce(file, ec);
  sink.commit(ec);
  CHECK_FALSE(ec);
  CHECK(modification_time(folder / "a/c").tv_sec != 1'700'000'000);
  CHECK(entries_below(folder.path()) == 3);
}

TEST_CASE("a file that is not committed leaves nothing, and no folder created for it") {
  const scratch_folder folder;
  fs::create_directory(folder / "existing");
  std::error_code ec;
  std::optional<tree_sink> sink{std::in_place, folder.path()};
  const auto open = [&] {
    sink->open("existing/a/b/c", ec);
    CHECK_FALSE(ec);
    sink->write(as_bytes("some"), ec);
    CHECK(entries_below(folder.path()) == 3 + names_of_incomplete_file(folder.path()));
  };
  open();
  SUBCASE("discarded") { sink->discard(); }
  SUBCASE("the sink is destroyed") { sink.reset(); }
  SUBCASE("another file is opened") {
    CHECK_FALSE(fetch(*sink, "existing/other", "bytes"));
    fs::remove(folder / "existing/other");
  }
  SUBCASE("another file can't be opened") {
    sink->open("existing/a/../../..", ec);
    CHECK(ec == errc::bad_name);
  }
  CHECK(entries_below(folder.path()) == 1);
}

TEST_CASE("an executable file is completed though no descriptor is left to try out its mode") {
  const scratch_folder folder;
  if (!filexfer::tree_root{folder.path()}.supports_nameless_files()) return;
  tree_sink sink{folder.path()};
  std::error_code ec;
  sink.open("a", ec);
  sink.write(as_bytes("bytes"), ec);
  sink.executable(true);
  REQUIRE_FALSE(ec);
  {
    const test::spare_descriptors one{1};
    const int last = ::dup(0);
    sink.commit(ec);
    ::close(last);
  }
  CHECK_FALSE(ec);
  CHECK(contents(folder / "a") == "bytes");
  const auto mode = fs::status(folder / "a").permissions();
  CHECK((mode & fs::perms::owner_all) == fs::perms::owner_all);
}

TEST_CASE("a file has no name until it is complete, unless it has a part or may replace another") {
  const scratch_folder folder;
  if (!filexfer::tree_root{folder.path()}.supports_nameless_files()) return;
  CHECK(fs::is_empty(folder.path()));  // nothing is left of the trial
  tree_sink sink{folder.path()};
  tree_sink replacing{folder.path(), on_existing::replace};
  std::error_code ec;
  sink.open("a", ec);
  sink.write(as_bytes("bytes"), ec);
  CHECK(fs::is_empty(folder.path()));
  replacing.open("b", ec);
  CHECK(entries_below(folder.path()) == 1);
  sink.executable(true);
  SUBCASE("it gets its name") {
    sink.commit(ec);
    CHECK_FALSE(ec);
    CHECK(contents(folder / "a") == "bytes");
    const auto mode = fs::status(folder / "a").permissions();
    CHECK((mode & fs::perms::owner_all) == fs::perms::owner_all);
  }
  SUBCASE("not if another file has it by then") {
    write_file(folder / "a", "theirs");
    sink.commit(ec);
    CHECK(ec == errc::file_exists);
    CHECK(contents(folder / "a") == "theirs");
  }
  replacing.discard();
  CHECK(entries_below(folder.path()) == 1);
  sink.open("c", "part", ec);
  CHECK(entries_below(folder.path()) == 2);
}

TEST_CASE("files have names from the beginning in a folder that can't be written") {
  std::error_code ec;
  filexfer::tree_root root{"/proc", ec};
  if (!ec) CHECK_FALSE(root.supports_nameless_files());
}

TEST_CASE("a folder created for a file stays if others put something into it") {
  const scratch_folder folder;
  tree_sink sink{folder.path()};
  std::error_code ec;
  sink.open("a/b/c", ec);
  REQUIRE_FALSE(ec);
  write_file(folder / "a/theirs", "theirs");
  sink.discard();
  CHECK(entries_below(folder.path()) == 2);
  CHECK(contents(folder / "a/theirs") == "theirs");
}

TEST_CASE("a folder shared by several sinks is removed with the last, unless one commits") {
  const scratch_folder folder;
  filexfer::tree_root root{folder.path()};
  tree_sink first{root};
  tree_sink second{root};
  tree_sink deeper{root};
  std::error_code ec;
  first.open("a/b/first", ec);
  CHECK_FALSE(ec);
  second.open("a/b/second", ec);
  CHECK_FALSE(ec);
  deeper.open("a/b/c/file", ec);
  CHECK_FALSE(ec);
  first.discard();
  const auto names = names_of_incomplete_file(folder.path());
  CHECK(entries_below(folder.path()) == 3 + 2 * names);
  SUBCASE("all are discarded") {
    deeper.discard();
    CHECK(entries_below(folder.path()) == 2 + names);
    second.discard();
    CHECK(fs::is_empty(folder.path()));
    CHECK_FALSE(fetch(first, "a/b/first", "bytes"));
  }
  SUBCASE("one is committed") {
    second.commit(ec);
    CHECK_FALSE(ec);
    deeper.discard();
    CHECK(entries_below(folder.path()) == 3);
    fs::remove(folder / "a/b/second");
    CHECK_FALSE(fetch(first, "a/b/first", "bytes"));
    first.open("a/b/other", ec);
    first.discard();
    CHECK(entries_below(folder.path()) == 3);
  }
}

TEST_CASE("sinks on several threads don't remove each other's folders") {
  const scratch_folder folder;
  filexfer::tree_root root{folder.path()};
  std::atomic<int> failures = 0;
  const auto open_and_discard = [&](int number) {
    tree_sink sink{root};
    for (int i = 0; i < 500; ++i) {
      std::error_code ec;
      sink.open("a/b/" + std::to_string(number), ec);
      if (ec) ++failures;
      sink.discard();
    }
  };
  std::vector<std::jthread> threads;
  threads.reserve(4);
  for (int number = 0; number < 4; ++number) threads.emplace_back(open_and_discard, number);
  threads.clear();
  CHECK(failures == 0);
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("a file that can't be opened leaves no folder") {
  const scratch_folder folder;
  write_file(folder / "file", "before");
  fs::create_directory(folder / "folder");
  tree_sink sink{folder.path()};
  std::error_code ec;
  const auto open_error = [&](std::string_view name) {
    sink.open(name, ec);
    CHECK(entries_below(folder.path()) == 2);
    const auto error = ec;
    sink.write(as_bytes("bytes"), ec);
    CHECK(ec == std::errc::bad_file_descriptor);
    sink.commit(ec);
    CHECK(ec == std::errc::bad_file_descriptor);
    return error;
  };
  for (const auto name : {"", ".", "..", "a/..", "../a", "/a", "a//b", "a/", "\xff"}) {
    CAPTURE(name);
    CHECK(open_error(name) == errc::bad_name);
  }
  CHECK(open_error(std::string(256, 'n')) == errc::bad_name);
  CHECK(open_error({"a\0b", 3}) == errc::bad_name);
  CHECK(open_error("file/a") == std::errc::not_a_directory);
  CHECK(open_error("file/a/b") == std::errc::not_a_directory);
  CHECK(open_error("file") == errc::file_exists);
  CHECK(open_error("folder") == std::errc::is_a_directory);
  CHECK(contents(folder / "file") == "before");
}

TEST_CASE("an existing file is kept or replaced according to the policy") {
  const scratch_folder folder;
  write_file(folder / "a/b", "before");
  tree_sink keeping{folder.path()};
  CHECK(fetch(keeping, "a/b", "after") == errc::file_exists);
  std::error_code ec;
  keeping.open("a/c", ec);
  write_file(folder / "a/c", "meanwhile");
  keeping.commit(ec);
  CHECK(ec == errc::file_exists);
  keeping.discard();
  CHECK(contents(folder / "a/b") == "before");
  CHECK(contents(folder / "a/c") == "meanwhile");
  tree_sink replacing{folder.path(), on_existing::replace};
  CHECK_FALSE(fetch(replacing, "a/b", "after"));
  CHECK(contents(folder / "a/b") == "after");
  CHECK(entries_below(folder.path()) == 3);
}

TEST_CASE("no symbolic link leads out of the folder") {
  const scratch_folder outside;
  const scratch_folder folder;
  write_file(outside / "file", "theirs");
  tree_sink sink{folder.path(), on_existing::replace};
  std::error_code ec;
  SUBCASE("in place of a folder") {
    fs::create_directory_symlink(outside.path(), folder / "link");
    fs::create_directory(folder / "sub");
    fs::create_directory_symlink(outside.path(), folder / "sub/link");
    fs::create_symlink("nowhere", folder / "dangling");
    for (const auto name :
         {"link/new", "link/file", "sub/link/new", "link/new/new", "dangling/a"}) {
      CAPTURE(name);
      CHECK(fetch(sink, name, "bytes") == std::errc::too_many_symbolic_link_levels);
    }
  }
  SUBCASE("in place of the file, and is replaced by it") {
    fs::create_symlink(outside / "file", folder / "link");
    CHECK_FALSE(fetch(sink, "link", "bytes"));
    CHECK_FALSE(fs::is_symlink(folder / "link"));
    CHECK(contents(folder / "link") == "bytes");
  }
  SUBCASE("that replaces an open folder") {
    sink.open("a/b/new", ec);
    REQUIRE_FALSE(ec);
    fs::create_directory(outside / "b");
    fs::rename(folder / "a", folder / "moved");
    fs::create_directory_symlink(outside.path(), folder / "a");
    sink.write(as_bytes("bytes"), ec);
    sink.commit(ec);
    CHECK_FALSE(ec);
    CHECK(contents(folder / "moved/b/new") == "bytes");
    CHECK(fs::is_empty(outside / "b"));
    fs::remove(outside / "b");
  }
  SUBCASE("that replaces the sink's own folder") {
    const scratch_folder aside;
    tree_sink below{folder / ".", on_existing::keep};
    fs::rename(folder.path(), aside / "moved");
    fs::create_directory_symlink(outside.path(), folder.path());
    CHECK_FALSE(fetch(below, "a/new", "bytes"));
    CHECK(contents(aside / "moved/a/new") == "bytes");
    fs::remove(folder.path());
  }
  SUBCASE("when a file is discarded") {
    sink.open("a/b/new", ec);
    fs::create_directory(outside / "b");
    fs::rename(folder / "a", folder / "moved");
    fs::create_directory_symlink(outside.path(), folder / "a");
    sink.discard();
    CHECK(fs::is_directory(outside / "b"));
    CHECK_FALSE(fs::exists(folder / "moved/b"));
    fs::remove(outside / "b");
  }
  CHECK(entries_below(outside.path()) == 1);
  CHECK(contents(outside / "file") == "theirs");
}

TEST_CASE("an existing file can be read, and no link to one is followed") {
  const scratch_folder folder;
  write_file(folder / "a/b/file", "bytes");
  write_file(folder / "outside", "theirs");
  fs::create_directory_symlink("b", folder / "a/link");
  fs::create_symlink("../outside", folder / "a/b/link");
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  const tree_sink sink{folder.path()};
  std::error_code ec;
  auto file = sink.existing("a/b/file", ec);
  CHECK_FALSE(ec);
  REQUIRE(file);
  CHECK(read_all(*file, ec) == "bytes");
  for (const auto name : {"a/link/file", "a/b/link", "a/b", "a/absent", "absent/file", "fifo",
                          "outside/file", "a/../outside", ""}) {
    CAPTURE(name);
    CHECK_FALSE(sink.existing(name, ec));
    CHECK(ec);
  }
}

TEST_CASE("the sink's folder must exist, and may be a link to a folder") {
  const scratch_folder folder;
  write_file(folder / "file", "bytes");
  std::error_code ec;
  const tree_sink absent{folder / "absent", on_existing::keep, ec};
  CHECK(ec == std::errc::no_such_file_or_directory);
  const tree_sink file{folder / "file", on_existing::keep, ec};
  CHECK(ec == std::errc::not_a_directory);
  CHECK_THROWS_AS(tree_sink{folder / "absent"}, std::system_error);
  fs::create_directory(folder / "sub");
  fs::create_directory_symlink("sub", folder / "link");
  tree_sink sink{folder / "link"};
  CHECK_FALSE(fetch(sink, "a", "bytes"));
  CHECK(contents(folder / "sub/a") == "bytes");
}

TEST_CASE("a tree sink leaves no descriptor behind") {
  const scratch_folder folder;
  write_file(folder / "file", "bytes");
  const auto before = open_descriptors();
  {
    tree_sink sink{folder.path()};
    CHECK_FALSE(fetch(sink, "a/b/c", "bytes"));
    CHECK(fetch(sink, "x/y/../z", "bytes") == errc::bad_name);
    CHECK(fetch(sink, "file/y", "bytes") == std::errc::not_a_directory);
    CHECK(fetch(sink, "a/b", "bytes") == std::errc::is_a_directory);
    CHECK(open_descriptors() == before + 1);
  }
  CHECK(open_descriptors() == before);
}

}  // namespace

}  // namespace tree_sink_tests
