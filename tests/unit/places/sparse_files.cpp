// Holes in files: they are not read, and blocks of zeros are not written.

#include "support/directory_store_fixture.hpp"
#include "support/scratch_folder.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/directory_store.hpp>
#include <filexfer/error.hpp>
#include <filexfer/file.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace sparse_files_tests {

namespace {

namespace fs = std::filesystem;
using filexfer::errc;
using filexfer::file_sink;
using filexfer::file_source;
using filexfer::on_existing;
using namespace test;

constexpr std::size_t block = 4096;

struct stat status_of(const fs::path& file) {
  struct stat status {};
  REQUIRE(::lstat(file.c_str(), &status) == 0);
  return status;
}

std::uint64_t space_of(const fs::path& file) {
  return static_cast<std::uint64_t>(status_of(file).st_blocks) * 512;
}

/// Whether the file system has holes; the tests of the space that files take make no sense without.
bool has_holes(const scratch_folder& folder) {
  write_file(folder / "probe", "x");
  fs::resize_file(folder / "probe", 1 << 20);
  const bool found = space_of(folder / "probe") < (1 << 19);
  fs::remove(folder / "probe");
  if (!found) MESSAGE("skipped: this file system has no holes");
  return found;
}

/// Bytes with ranges of zeros, `runs` ranges in all. Some begin or end at a block's boundary.
std::string with_zeros(std::mt19937& random, int runs) {
  std::string bytes;
  for (int i = 0; i < runs; ++i) {
    auto size = random() % (5 * block);
    if (random() % 3 == 0) size -= bytes.size() % block <= size ? bytes.size() % block : 0;
    if (random() % 3 == 0) size += block - (bytes.size() + size) % block;
    auto run = random() % 2 == 0 ? std::string(size, '\0') : noise(size, static_cast<unsigned>(i));
    // Data that begins with zeros, and zeros that end with data.
    if (random() % 4 == 0) run.replace(0, std::min<std::size_t>(100, size), 100, '\0');
    if (random() % 4 == 0) run += 'x';
    bytes += run;
  }
  return bytes;
}

/// Writes `bytes` with a hole for each block of zeros.
void write_sparse(const fs::path& file, std::string_view bytes) {
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
  REQUIRE(fd >= 0);
  for (std::size_t at = 0; at < bytes.size(); at += block) {
    const auto part = bytes.substr(at, block);
    if (part.find_first_not_of('\0') == part.npos) continue;
    REQUIRE(::pwrite(fd, part.data(), part.size(), static_cast<off_t>(at)) ==
            static_cast<ssize_t>(part.size()));
  }
  REQUIRE(::ftruncate(fd, static_cast<off_t>(bytes.size())) == 0);
  ::close(fd);
}

/// The number of bytes that this process has read with system calls, also from caches.
std::uint64_t bytes_read() {
  std::ifstream io{"/proc/self/io"};
  std::string word;
  std::uint64_t count = 0;
  io >> word >> count;
  return count;
}

template <class Sink>
void write_in_chunks(Sink& sink, std::string_view bytes, std::size_t chunk) {
  for (std::size_t at = 0; at < bytes.size(); at += chunk) {
    std::error_code ec;
    sink.write(as_bytes(bytes.substr(at, chunk)), ec);
    REQUIRE_FALSE(ec);
  }
}

TEST_CASE("a file with holes is read as its bytes, whatever the chunks and the offset") {
  const scratch_folder folder;
  std::mt19937 random{1};
  for (int round = 0; round < 40; ++round) {
    const auto bytes = with_zeros(random, round % 8);
    CAPTURE(round);
    write_sparse(folder / "file", bytes);
    for (const std::size_t chunk : {std::size_t{100}, block - 1, block, 70'000 * block}) {
      file_source source{folder / "file"};
      std::error_code ec;
      CHECK(read_all(source, ec, std::min(chunk, bytes.size() + 1)) == bytes);
      CHECK_FALSE(ec);
      const auto offset = bytes.empty() ? 0 : random() % bytes.size();
      source.seek(offset, ec);
      CHECK(read_all(source, ec) == bytes.substr(offset));
      CHECK_FALSE(ec);
      source.check_unchanged(ec);
      CHECK_FALSE(ec);
    }
  }
}

TEST_CASE("holes are not read") {
  const scratch_folder folder;
  if (!has_holes(folder)) return;
  if (bytes_read() == 0) {
    MESSAGE("skipped: this system does not count what a process reads");
    return;
  }
  constexpr std::size_t size = std::size_t{16} << 20;
  write_file(folder / "file", "begin");
  fs::resize_file(folder / "file", size - 3);
  std::ofstream{folder / "file", std::ios::binary | std::ios::app} << "end";
  fs::resize_file(folder / "file", 2 * size);
  std::string expected(2 * size, '\0');
  expected.replace(0, 5, "begin");
  expected.replace(size - 3, 3, "end");
  file_source source{folder / "file"};
  std::error_code ec;
  const auto before = bytes_read();
  const auto bytes = read_all(source, ec);
  CHECK(bytes_read() - before < 100'000);
  CHECK_FALSE(ec);
  CHECK((bytes == expected));
}

TEST_CASE("a file with holes that is shorter than when it was opened has changed") {
  const scratch_folder folder;
  write_sparse(folder / "file", std::string(1 << 20, '\0'));
  for (const std::size_t first : {std::size_t{0}, block}) {
    file_source source{folder / "file"};
    std::error_code ec;
    std::vector<std::byte> buffer(first);
    source.read(buffer, ec);
    REQUIRE_FALSE(ec);
    fs::resize_file(folder / "file", 10'000);
    read_all(source, ec);
    if (first == 0) CHECK(ec == errc::source_changed);
    if (!ec) source.check_unchanged(ec);
    CHECK(ec == errc::source_changed);
    fs::resize_file(folder / "file", 1 << 20);
  }
}

TEST_CASE("a download with zeros has its bytes and its size, whatever the chunks") {
  const scratch_folder folder;
  std::mt19937 random{2};
  for (int round = 0; round < 40; ++round) {
    const auto bytes = with_zeros(random, round % 8);
    CAPTURE(round);
    for (const std::size_t chunk : {std::size_t{100}, block - 1, block, 10 * block}) {
      file_sink first{folder / "file", on_existing::replace};
      const auto half = std::min(bytes.size(), bytes.size() / 2 / block * block + block);
      write_in_chunks(first, std::string_view{bytes}.substr(0, half), chunk);
      file_sink sink{folder / "other"};
      sink = std::move(first);
      write_in_chunks(sink, std::string_view{bytes}.substr(half), chunk);
      std::error_code ec;
      sink.commit(ec);
      CHECK_FALSE(ec);
      CHECK((contents(folder / "file") == bytes));
    }
  }
}

TEST_CASE("zeros take no space in a download") {
  const scratch_folder folder;
  if (!has_holes(folder)) return;
  const std::string zeros(std::size_t{4} << 20, '\0');
  for (const auto& bytes :
       {zeros, noise(2 * block) + zeros, zeros + noise(2 * block), "x" + zeros + "x"}) {
    file_sink sink{folder / "file", on_existing::replace};
    write_in_chunks(sink, bytes, 100'001);  // which divides blocks
    std::error_code ec;
    sink.commit(ec);
    CHECK_FALSE(ec);
    CHECK((contents(folder / "file") == bytes));
    CHECK(space_of(folder / "file") < 16 * block);
  }
}

TEST_CASE("a part that ends in zeros holds what was received, kept or left by a crash") {
  const scratch_folder folder;
  std::error_code ec;
  std::mt19937 random{3};
  for (int round = 0; round < 40; ++round) {
    const auto bytes = with_zeros(random, 8) + std::string(block + random() % (3 * block), '\0');
    CAPTURE(round);
    std::size_t received = 0;
    while (received < bytes.size()) {
      file_sink sink{folder / "file", on_existing::replace, "part", ec};
      REQUIRE_FALSE(ec);
      CHECK(sink.held() == received);
      auto end = received + 1 + random() % 30'000;
      if (random() % 2 == 0) end += block - end % block;
      const auto count = std::min(bytes.size(), end) - received;
      sink.write(as_bytes(std::string_view{bytes}.substr(received, count)), ec);
      REQUIRE_FALSE(ec);
      received += count;
      // What a crash would leave:
      CHECK((contents(folder / "part") == bytes.substr(0, received)));
      auto moved = std::move(sink);
      moved.keep();
      CHECK(fs::file_size(folder / "part") == received);
    }
    file_sink sink{folder / "file", on_existing::replace, "part", ec};
    CHECK(sink.held() == bytes.size());
    sink.commit(ec);
    CHECK_FALSE(ec);
    CHECK((contents(folder / "file") == bytes));
  }
}

TEST_CASE("zeros in place of a part's old bytes are zeros") {
  const scratch_folder folder;
  write_file(folder / "part", noise(10 * block));
  std::error_code ec;
  file_sink sink{folder / "file", on_existing::keep, "part", ec};
  sink.discard_held(ec);
  REQUIRE_FALSE(ec);
  const std::string zeros(20 * block, '\0');
  sink.write(as_bytes(zeros), ec);
  sink.commit(ec);
  CHECK_FALSE(ec);
  CHECK((contents(folder / "file") == zeros));
}

TEST_CASE("an upload with zeros is stored as its bytes, and zeros take no space") {
  directory_store_tests::fixture f;
  const bool checks_space = has_holes(f.folder);
  std::mt19937 random{4};
  for (int round = 0; round < 20; ++round) {
    auto bytes = with_zeros(random, round % 8);
    if (round % 2 == 0) bytes += std::string(std::size_t{1} << 20, '\0');
    CAPTURE(round);
    REQUIRE_FALSE(put(f.store, "name" + std::to_string(round), bytes, 1 + random() % 300'000));
    const auto stored = fetch(f.store, id_of(bytes));
    CHECK((stored == bytes));
    if (round % 2 == 0 && checks_space) {
      CHECK(space_of(f.id_folder(bytes) / ("name" + std::to_string(round))) < bytes.size() / 2);
    }
  }
}

TEST_CASE("an interrupted upload that ends in zeros holds what was received") {
  directory_store_tests::fixture f;
  const auto bytes = noise(2 * block) + std::string(30 * block, '\0') + noise(5'000);
  details_type details{"name", bytes.size(), {}};
  details.resume = "token-of-this-upload";
  std::error_code ec;
  std::size_t received = 0;
  for (const std::size_t end : {2 * block, 10 * block, 20 * block + 1, 30 * block}) {
    auto upload = f.store.resume(details, ec);
    REQUIRE(upload);
    CHECK(upload->held() == received);
    upload->write(as_bytes(std::string_view{bytes}.substr(received, end - received)), ec);
    CHECK_FALSE(ec);
    upload->keep();
    received = end;
    details.id = id_of(bytes);
  }
  auto upload = f.store.resume(details, ec);
  REQUIRE(upload);
  CHECK(upload->held() == received);
  upload->write(as_bytes(std::string_view{bytes}.substr(received)), ec);
  upload->commit(id_of(bytes), ec);
  CHECK_FALSE(ec);
  CHECK((fetch(f.store, id_of(bytes)) == bytes));
}

TEST_CASE("an upload of zeros that starts over has none of the old bytes") {
  directory_store_tests::fixture f;
  const std::string zeros(100'000, '\0');
  details_type details{"name", zeros.size(), {}};
  details.resume = "token-of-this-upload";
  std::error_code ec;
  auto first = f.store.resume(details, ec);
  REQUIRE(first);
  first->write(as_bytes(noise(50'000)), ec);
  first->keep();
  first.reset();
  auto second = f.store.resume(details, ec);
  REQUIRE(second);
  second->write(as_bytes(zeros), ec);
  second->commit(id_of(zeros), ec);
  CHECK_FALSE(ec);
  CHECK((contents(f.id_folder(zeros) / "name") == zeros));
}

TEST_CASE("a copy of a stored file, for a name with another time, has its holes") {
  directory_store_tests::fixture f;
  if (!has_holes(f.folder)) return;
  const auto bytes = noise(2 * block) + std::string(std::size_t{1} << 20, '\0');
  const filexfer::file_time time{std::chrono::seconds{1'000'000'000}};
  const filexfer::file_time later{std::chrono::seconds{1'000'000'001}};
  REQUIRE_FALSE(put(f.store, "first", bytes, 100'000, time));
  std::error_code ec;
  CHECK(f.store.add_name(id_of(bytes), bytes.size(), "second", {.modified = later}, ec));
  CHECK_FALSE(ec);
  const auto copy = f.id_folder(bytes) / "second";
  CHECK(status_of(copy).st_nlink == 1);
  CHECK((contents(copy) == bytes));
  CHECK(space_of(copy) < bytes.size() / 2);
}

}  // namespace

}  // namespace sparse_files_tests
