#include "support/scratch_folder.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/file.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <sys/mount.h>
#include <sys/stat.h>

namespace file_sinks_tests {

namespace fs = std::filesystem;
using namespace test;
using filexfer::errc;
using filexfer::file_sink;
using filexfer::file_source;
using filexfer::on_existing;

namespace {

std::size_t entries_in(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator{folder}, {}));
}

TEST_CASE("a download is visible once it is committed, and not before") {
  const scratch_folder folder;
  const auto target = folder / "target";
  for (const auto policy : {on_existing::keep, on_existing::replace}) {
    fs::remove(target);
    file_sink sink{target, policy};
    std::error_code ec;
    const auto bytes = noise(300'000);
    sink.write(as_bytes(std::string_view{bytes}.substr(0, 100'000)), ec);
    CHECK_FALSE(ec);
    CHECK_FALSE(fs::exists(target));
    auto moved = std::move(sink);
    moved.write(as_bytes(std::string_view{bytes}.substr(100'000)), ec);
    CHECK_FALSE(ec);
    CHECK_FALSE(fs::exists(target));
    moved.commit(ec);
    CHECK_FALSE(ec);
    CHECK(contents(target) == bytes);
    CHECK(entries_in(folder.path()) == 1);
  }
}

TEST_CASE("an abandoned download leaves nothing") {
  const scratch_folder folder;
  write_file(folder / "existing", "before");
  for (const auto name : {"new", "existing"}) {
    std::optional<file_sink> sink{std::in_place, folder / name, on_existing::replace};
    std::error_code ec;
    sink->write(as_bytes("some"), ec);
    CHECK(entries_in(folder.path()) == 2);
    auto moved = std::move(*sink);
    sink.emplace(std::move(moved));
    sink.reset();
    CHECK(entries_in(folder.path()) == 1);
    CHECK(contents(folder / "existing") == "before");
  }
}

TEST_CASE(
    "a temporary file is readable only by its owner, and the finished file as the umask allows") {
  const scratch_folder folder;
  const auto mask = ::umask(022);
  std::optional<file_sink> sink{std::in_place, folder / "target"};
  const auto temporary = fs::directory_iterator { folder.path() } -> path();
  CHECK(temporary.filename().string().starts_with(".filexfer-"));
  CHECK(fs::status(temporary).permissions() == fs::perms{0600});
  std::error_code ec;
  sink->commit(ec);
  ::umask(mask);
  CHECK_FALSE(ec);
  CHECK(fs::status(folder / "target").permissions() == fs::perms{0644});
}

TEST_CASE("an existing file is kept with on_existing::keep") {
  const scratch_folder folder;
  const auto target = folder / "target";
  std::error_code ec;
  SUBCASE("that existed before") {
    write_file(target, "before");
    const file_sink sink{target, on_existing::keep, ec};
    CHECK(ec == errc::file_exists);
    CHECK_THROWS_AS(file_sink{target}, std::system_error);
  }
  SUBCASE("that was created meanwhile") {
    file_sink sink{target};
    sink.write(as_bytes("after"), ec);
    write_file(target, "before");
    sink.commit(ec);
    CHECK(ec == errc::file_exists);
  }
  CHECK(contents(target) == "before");
  CHECK(entries_in(folder.path()) == 1);
}

TEST_CASE("an existing file is replaced in one step with on_existing::replace") {
  const scratch_folder folder;
  const auto target = folder / "target";
  write_file(target, "before");
  file_source reader{target};
  file_sink sink{target, on_existing::replace};
  std::error_code ec;
  sink.write(as_bytes("after"), ec);
  CHECK(contents(target) == "before");
  sink.commit(ec);
  CHECK_FALSE(ec);
  CHECK(contents(target) == "after");
  CHECK(read_all(reader, ec) == "before");
}

TEST_CASE("a symbolic link at the target is replaced, not followed") {
  const scratch_folder folder;
  write_file(folder / "elsewhere", "before");
  for (const auto link_target : {"elsewhere", "nowhere"}) {
    fs::create_symlink(link_target, folder / "link");
    std::error_code ec;
    const file_sink refused{folder / "link", on_existing::keep, ec};
    CHECK(ec == errc::file_exists);
    file_sink sink{folder / "link", on_existing::replace};
    sink.write(as_bytes("after"), ec);
    sink.commit(ec);
    CHECK_FALSE(ec);
    CHECK_FALSE(fs::is_symlink(folder / "link"));
    CHECK(contents(folder / "link") == "after");
    fs::remove(folder / "link");
  }
  CHECK(contents(folder / "elsewhere") == "before");
  CHECK_FALSE(fs::exists(folder / "nowhere"));
}

TEST_CASE("a target must not be a folder, and must have a file name and an existing folder") {
  const scratch_folder folder;
  fs::create_directory(folder / "sub");
  std::error_code ec;
  for (const auto policy : {on_existing::keep, on_existing::replace}) {
    for (const auto name : {"sub", "sub/", ".", "sub/..", ""}) {
      CAPTURE(name);
      const file_sink sink{*name == '\0' ? fs::path{} : folder / name, policy, ec};
      CHECK(ec == std::errc::is_a_directory);
    }
    const file_sink sink{folder / "absent/file", policy, ec};
    CHECK(ec == std::errc::no_such_file_or_directory);
  }
  file_sink sink{folder / "target", on_existing::replace};
  fs::create_directory(folder / "target");
  sink.commit(ec);
  CHECK(ec == std::errc::is_a_directory);
  CHECK(fs::is_directory(folder / "target"));
}

TEST_CASE("a FIFO is not replaced") {
  const scratch_folder folder;
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  std::error_code ec;
  const file_sink sink{folder / "fifo", on_existing::replace, ec};
  CHECK(ec == std::errc::not_supported);
  CHECK(fs::is_fifo(folder / "fifo"));
}

TEST_CASE("a target without a folder is created in the current one") {
  const scratch_folder folder;
  const auto before = fs::current_path();
  fs::current_path(folder.path());
  {
    file_sink sink{"target"};
    std::error_code ec;
    sink.commit(ec);
    CHECK_FALSE(ec);
  }
  fs::current_path(before);
  CHECK(contents(folder / "target").empty());
  CHECK(fs::exists(folder / "target"));
}

TEST_CASE("a sink that is assigned to discards its own file") {
  const scratch_folder folder;
  file_sink a{folder / "a"};
  file_sink b{folder / "b"};
  CHECK(entries_in(folder.path()) == 2);
  a = std::move(b);
  CHECK(entries_in(folder.path()) == 1);
  std::error_code ec;
  a.commit(ec);
  CHECK_FALSE(ec);
  CHECK(fs::exists(folder / "b"));
}

#if defined(__linux__)
TEST_CASE("a disk that fills up during a download is an error, and its space is released") {
  const scratch_folder folder;
  if (::mount("none", folder.path().c_str(), "tmpfs", 0, "size=128k") != 0) {
    MESSAGE("skipped: mounting a small file system needs root");
    return;
  }
  {
    file_sink sink{folder / "target"};
    std::error_code ec;
    sink.write(as_bytes(noise(300'000)), ec);
    CHECK(ec == std::errc::no_space_on_device);
    sink.commit(ec);
    CHECK(ec == std::errc::no_space_on_device);
  }
  CHECK(entries_in(folder.path()) == 0);
  {
    file_sink sink{folder / "target"};
    std::error_code ec;
    sink.write(as_bytes(noise(100'000)), ec);
    CHECK_FALSE(ec);
    sink.commit(ec);
    CHECK_FALSE(ec);
  }
  CHECK(contents(folder / "target") == noise(100'000));
  ::umount(folder.path().c_str());
}
#endif

// ----------------------------------------------------------------------------------- partial files

TEST_CASE("a kept partial file is resumed, and becomes the file") {
  scratch_folder folder;
  const auto target = folder / "target";
  std::error_code ec;
  const auto open = [&] {
    filexfer::file_sink sink{target, on_existing::keep, "target.part", ec};
    REQUIRE_FALSE(ec);
    return sink;
  };
  const auto write = [&](filexfer::file_sink& sink, std::string_view bytes) {
    sink.write(std::as_bytes(std::span{bytes}), ec);
    REQUIRE_FALSE(ec);
  };
  {
    auto first = open();
    CHECK(first.held() == 0);
    write(first, "0123");
    CHECK(open().held() == 0);  // the partial file is in use: this sink gets a file of its own
    first.keep();
  }
  CHECK(contents(folder / "target.part") == "0123");
  CHECK_FALSE(std::filesystem::exists(target));
  {
    auto second = open();
    REQUIRE(second.held() == 4);
    std::array<std::byte, 2> held{};
    CHECK(second.read_held(held, 2, ec) == 2);
    CHECK(held[1] == std::byte{'3'});
    write(second, "45");
    second.commit(ec);
    CHECK_FALSE(ec);
  }
  CHECK(contents(target) == "012345");
  CHECK((std::filesystem::status(target).permissions() & std::filesystem::perms::owner_write) !=
        std::filesystem::perms::none);
  CHECK(std::distance(std::filesystem::directory_iterator{folder.path()}, {}) == 1);
}

TEST_CASE("a partial file is discarded if it is wrong, empty, or not kept") {
  scratch_folder folder;
  std::error_code ec;
  const auto open = [&] {
    return filexfer::file_sink{folder / "target", on_existing::keep, "part", ec};
  };
  write_file(folder / "part", "wrong");
  {
    auto sink = open();
    CHECK(sink.held() == 5);
    sink.discard_held(ec);
    CHECK(sink.held() == 0);
    sink.write(std::as_bytes(std::span{std::string_view{"right"}}), ec);
    sink.keep();
  }
  CHECK(contents(folder / "part") == "right");
  { const auto sink = open(); }
  CHECK_FALSE(std::filesystem::exists(folder / "part"));
  open().keep();
  CHECK_FALSE(std::filesystem::exists(folder / "part"));
}

}  // namespace

}  // namespace file_sinks_tests
