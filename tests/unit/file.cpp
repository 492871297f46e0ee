#include "support/scratch_folder.hpp"
#include "support/store_use.hpp"

#include <filexfer/file.hpp>

#include <doctest/doctest.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace file_tests {

namespace {

namespace fs = std::filesystem;
using filexfer::errc;
using filexfer::file_sink;
using filexfer::file_source;
using filexfer::on_existing;
using namespace tests;

std::size_t entries_in(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator{folder}, {}));
}

void set_modification_time(const fs::path& file, timespec time) {
  const timespec times[2] = {{0, UTIME_OMIT}, time};
  REQUIRE(::utimensat(AT_FDCWD, file.c_str(), times, 0) == 0);
}

// ---------------------------------------------------------------------------------------- sources

TEST_CASE("a file source gives the file's bytes") {
  const scratch_folder folder;
  for (const std::size_t size : {0u, 1u, 70'000u, 200'001u}) {
    const auto bytes = noise(size);
    write_file(folder / "file", bytes);
    file_source source{folder / "file"};
    CHECK(source.size() == size);
    std::error_code ec;
    CHECK(read_all(source, ec) == bytes);
    CHECK_FALSE(ec);
    source.check_unchanged(ec);
    CHECK_FALSE(ec);
    source.seek(size / 2, ec);
    auto moved = std::move(source);
    CHECK(read_all(moved, ec) == bytes.substr(size / 2));
    moved.seek(size + 1, ec);
    CHECK(ec == errc::bad_range);
  }
}

TEST_CASE("a file source is a regular file, or an error") {
  const scratch_folder folder;
  std::error_code ec;
  const file_source absent{folder / "absent", ec};
  CHECK(ec == std::errc::no_such_file_or_directory);
  CHECK_THROWS_AS(file_source{folder / "absent"}, std::system_error);
  const file_source is_folder{folder.path(), ec};
  CHECK(ec == std::errc::is_a_directory);
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  const file_source fifo{folder / "fifo", ec};  // Nobody writes there; it must not wait.
  CHECK(ec == std::errc::not_supported);
  const file_source device{"/dev/zero", ec};
  CHECK(ec == std::errc::not_supported);
  write_file(folder / "file", "bytes");
  fs::create_symlink("file", folder / "link");
  file_source link{folder / "link", ec};
  CHECK_FALSE(ec);
  CHECK(read_all(link, ec) == "bytes");
}

TEST_CASE("a file source reads what is open already, and closes it") {
  const scratch_folder folder;
  write_file(folder / "file", "bytes");
  const auto before = open_descriptors();
  {
    std::error_code ec;
    file_source source{::open((folder / "file").c_str(), O_RDONLY), ec};
    CHECK_FALSE(ec);
    CHECK(read_all(source, ec) == "bytes");
    const file_source is_folder{::open(folder.path().c_str(), O_RDONLY), ec};
    CHECK(ec == std::errc::is_a_directory);
    CHECK(open_descriptors() == before + 1);
    const file_source none{-1, ec};
    CHECK(ec == std::errc::bad_file_descriptor);
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("a file source notices every way in which its file can change") {
  const scratch_folder folder;
  const auto file = folder / "file";
  std::error_code ec;
  const auto opened = [&] {
    write_file(file, "bytes");
    return file_source{file};
  };
  SUBCASE("overwritten in place, its times put back") {
    const auto source = opened();
    struct stat before {};
    REQUIRE(::stat(file.c_str(), &before) == 0);
    const int fd = ::open(file.c_str(), O_WRONLY);
    REQUIRE(::pwrite(fd, "0", 1, 0) == 1);
    ::close(fd);
    set_modification_time(file, before.st_mtim);
    source.check_unchanged(ec);
    CHECK(ec == errc::source_changed);
  }
  SUBCASE("touched") {
    const auto source = opened();
    set_modification_time(file, {1, 0});
    source.check_unchanged(ec);
    CHECK(ec == errc::source_changed);
  }
  SUBCASE("cut") {
    auto source = opened();
    REQUIRE(::truncate(file.c_str(), 2) == 0);
    source.check_unchanged(ec);
    CHECK(ec == errc::source_changed);
    CHECK(read_all(source, ec) == "by");
    CHECK(ec == errc::source_changed);
  }
  SUBCASE("longer now") {
    auto source = opened();
    REQUIRE(::truncate(file.c_str(), 20) == 0);
    source.check_unchanged(ec);
    CHECK(ec == errc::source_changed);
    CHECK(read_all(source, ec) == "bytes");
  }
  SUBCASE("another file by that name is not its file") {
    auto source = opened();
    write_file(folder / "new", "others");
    fs::rename(folder / "new", file);
    CHECK(read_all(source, ec) == "bytes");
    CHECK_FALSE(ec);
  }
#if defined(__linux__)
  SUBCASE("one that does not know its own size") {
    file_source source{"/proc/self/status"};
    CHECK(source.size() == 0);
    source.check_unchanged(ec);
    CHECK(ec == errc::source_changed);
  }
#endif
}

// ------------------------------------------------------------------------------------------ sinks

TEST_CASE("a download is seen once it is committed, and not before") {
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

TEST_CASE("a download that is given up leaves nothing") {
  const scratch_folder folder;
  write_file(folder / "there", "before");
  for (const auto name : {"new", "there"}) {
    std::optional<file_sink> sink{std::in_place, folder / name, on_existing::replace};
    std::error_code ec;
    sink->write(as_bytes("some"), ec);
    CHECK(entries_in(folder.path()) == 2);
    auto moved = std::move(*sink);
    sink.emplace(std::move(moved));
    sink.reset();
    CHECK(entries_in(folder.path()) == 1);
    CHECK(contents(folder / "there") == "before");
  }
}

TEST_CASE("what arrives can be read by its owner only; the finished file by whom the umask lets") {
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

TEST_CASE("a file that is to be kept is kept") {
  const scratch_folder folder;
  const auto target = folder / "target";
  std::error_code ec;
  SUBCASE("when it was there before") {
    write_file(target, "before");
    const file_sink sink{target, on_existing::keep, ec};
    CHECK(ec == errc::file_exists);
    CHECK_THROWS_AS(file_sink{target}, std::system_error);
  }
  SUBCASE("when it came meanwhile") {
    file_sink sink{target};
    sink.write(as_bytes("after"), ec);
    write_file(target, "before");
    sink.commit(ec);
    CHECK(ec == errc::file_exists);
  }
  CHECK(contents(target) == "before");
  CHECK(entries_in(folder.path()) == 1);
}

TEST_CASE("a file that is to be replaced is replaced in one step") {
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
  for (const auto names_file : {"elsewhere", "nowhere"}) {
    const auto target = folder / names_file;
    fs::create_symlink(names_file, folder / "link");
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

TEST_CASE("a folder is no target, nor is what has no file name or no folder") {
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

TEST_CASE("what is no file is not replaced") {
  const scratch_folder folder;
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  std::error_code ec;
  const file_sink sink{folder / "fifo", on_existing::replace, ec};
  CHECK(ec == std::errc::not_supported);
  CHECK(fs::is_fifo(folder / "fifo"));
}

TEST_CASE("a target without a folder stands in the current one") {
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

TEST_CASE("a sink that was moved to gives up what it held") {
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

TEST_CASE("sources and sinks leave no descriptor behind") {
  const scratch_folder folder;
  const auto before = open_descriptors();
  {
    write_file(folder / "file", "bytes");
    std::error_code ec;
    file_source source{folder / "file"};
    file_sink sink{folder / "target"};
    sink.commit(ec);
    const file_sink exists{folder / "target", on_existing::keep, ec};
    const file_source is_folder{folder.path(), ec};
    CHECK(open_descriptors() == before + 3);
  }
  CHECK(open_descriptors() == before);
}

#if defined(__linux__)
TEST_CASE("a disk that is full while a download arrives is an error, and is freed again") {
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

}  // namespace

TEST_CASE("a part that was kept is gone on with, and becomes the file") {
  tests::scratch_folder folder;
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
    CHECK(open().held() == 0);  // somebody has it: this one has a file of its own
    first.keep();
  }
  CHECK(tests::contents(folder / "target.part") == "0123");
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
  CHECK(tests::contents(target) == "012345");
  CHECK((std::filesystem::status(target).permissions() & std::filesystem::perms::owner_write) !=
        std::filesystem::perms::none);
  CHECK(std::distance(std::filesystem::directory_iterator{folder.path()}, {}) == 1);
}

TEST_CASE("a part is dropped where it is wrong, empty, or not to be kept") {
  tests::scratch_folder folder;
  std::error_code ec;
  const auto open = [&] {
    return filexfer::file_sink{folder / "target", on_existing::keep, "part", ec};
  };
  tests::write_file(folder / "part", "wrong");
  {
    auto sink = open();
    CHECK(sink.held() == 5);
    sink.discard_held(ec);
    CHECK(sink.held() == 0);
    sink.write(std::as_bytes(std::span{std::string_view{"right"}}), ec);
    sink.keep();
  }
  CHECK(tests::contents(folder / "part") == "right");
  { const auto sink = open(); }
  CHECK_FALSE(std::filesystem::exists(folder / "part"));
  open().keep();
  CHECK_FALSE(std::filesystem::exists(folder / "part"));
  std::filesystem::create_symlink("elsewhere", folder / "part");
  open();
  CHECK(ec);  // no link is followed
}

TEST_CASE("what a descriptor takes in pieces arrives whole, and that nobody reads it is an error") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const std::string text(300'000, 'x');
  std::string got;
  std::thread reader{[&] {
    std::array<char, 1000> part{};
    for (ssize_t n = 0; (n = ::read(ends[0], part.data(), part.size())) > 0;) {
      got.append(part.data(), static_cast<std::size_t>(n));
    }
  }};
  filexfer::descriptor_sink sink{ends[1]};
  std::error_code ec = std::make_error_code(std::errc::io_error);
  sink.write(std::as_bytes(std::span{text}), ec);
  CHECK(!ec);
  ::close(ends[1]);
  reader.join();
  CHECK(got == text);

  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  ::close(ends[0]);
  filexfer::descriptor_sink broken{ends[1]};
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  broken.write(std::as_bytes(std::span{text}), ec);
  std::signal(SIGPIPE, before);
  CHECK(ec == std::errc::broken_pipe);
  ::close(ends[1]);
}

}  // namespace file_tests
