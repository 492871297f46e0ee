// file_source and descriptor_sink; file_sink is tested in file_sinks.cpp.

#include "support/scratch_folder.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/file.hpp>

#include <doctest/doctest.h>

#include <array>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace file_tests {

namespace fs = std::filesystem;
using namespace test;
using filexfer::errc;
using filexfer::file_sink;
using filexfer::file_source;
using filexfer::on_existing;

namespace {

void set_modification_time(const fs::path& file, timespec time) {
  const timespec times[2] = {{0, UTIME_OMIT}, time};
  REQUIRE(::utimensat(AT_FDCWD, file.c_str(), times, 0) == 0);
}

// ----------------------------------------------------------------------------------------- sources

TEST_CASE("a file source reads the file's bytes") {
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

TEST_CASE("a file source opens only regular files") {
  const scratch_folder folder;
  std::error_code ec;
  const file_source absent{folder / "absent", ec};
  CHECK(ec == std::errc::no_such_file_or_directory);
  CHECK_THROWS_AS(file_source{folder / "absent"}, std::system_error);
  const file_source is_folder{folder.path(), ec};
  CHECK(ec == std::errc::is_a_directory);
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  const file_source fifo{folder / "fifo", ec};  // It has no writer; opening it must not block.
  CHECK(ec == std::errc::not_supported);
  const file_source device{"/dev/zero", ec};
  CHECK(ec == std::errc::not_supported);
  write_file(folder / "file", "bytes");
  fs::create_symlink("file", folder / "link");
  file_source link{folder / "link", ec};
  CHECK_FALSE(ec);
  CHECK(read_all(link, ec) == "bytes");
}

TEST_CASE("a file source reads an open descriptor, and closes it") {
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
  SUBCASE("overwritten in place, its times restored") {
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
  SUBCASE("truncated") {
    auto source = opened();
    REQUIRE(::truncate(file.c_str(), 2) == 0);
    source.check_unchanged(ec);
    CHECK(ec == errc::source_changed);
    CHECK(read_all(source, ec) == "by");
    CHECK(ec == errc::source_changed);
  }
  SUBCASE("extended") {
    auto source = opened();
    REQUIRE(::truncate(file.c_str(), 20) == 0);
    source.check_unchanged(ec);
    CHECK(ec == errc::source_changed);
    CHECK(read_all(source, ec) == "bytes");
  }
  SUBCASE("replaced by another file, which does not count") {
    auto source = opened();
    write_file(folder / "new", "others");
    fs::rename(folder / "new", file);
    CHECK(read_all(source, ec) == "bytes");
    CHECK_FALSE(ec);
  }
#if defined(__linux__)
  SUBCASE("a file whose reported size is wrong") {
    file_source source{"/proc/self/status"};
    CHECK(source.size() == 0);
    source.check_unchanged(ec);
    CHECK(ec == errc::source_changed);
  }
#endif
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

// ------------------------------------------------------------------------------------- descriptors

TEST_CASE("a descriptor sink writes everything, and reports a pipe without a reader") {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  const std::string text(300'000, 'x');
  std::string received;
  std::thread reader{[&] {
    std::array<char, 1000> part{};
    for (ssize_t n = 0; (n = ::read(ends[0], part.data(), part.size())) > 0;) {
      received.append(part.data(), static_cast<std::size_t>(n));
    }
  }};
  filexfer::descriptor_sink sink{ends[1]};
  std::error_code ec = std::make_error_code(std::errc::io_error);
  sink.write(std::as_bytes(std::span{text}), ec);
  CHECK(!ec);
  ::close(ends[1]);
  reader.join();
  CHECK(received == text);

  REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
  ::close(ends[0]);
  filexfer::descriptor_sink broken{ends[1]};
  const auto before = std::signal(SIGPIPE, SIG_IGN);
  broken.write(std::as_bytes(std::span{text}), ec);
  std::signal(SIGPIPE, before);
  CHECK(ec == std::errc::broken_pipe);
  ::close(ends[1]);
}

}  // namespace

}  // namespace file_tests
