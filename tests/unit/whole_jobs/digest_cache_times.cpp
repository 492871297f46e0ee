// The digest cache and files whose times lie before 1677 or after 2262.

#include "support/scratch_folder.hpp"

#include <filexfer/digest_cache.hpp>
#include <filexfer/file.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <ctime>
#include <filesystem>
#include <span>
#include <string>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace digest_cache_times_tests {

namespace fs = std::filesystem;
using namespace test;
using filexfer::any_digest;
using filexfer::file_digest_cache;
using filexfer::file_source;
using filexfer::md5;

namespace {

const any_digest some_digest = *any_digest::from_hex("d41d8cd98f00b204e9800998ecf8427e");

/// A start of a digest's computation that is well after all files here were written.
const auto later = std::chrono::system_clock::now() + std::chrono::hours{1};

/// In memory, as tmpfs keeps any second.
fs::path place() {
  const fs::path in_memory{"/dev/shm"};
  return ::access(in_memory.c_str(), W_OK) == 0 ? in_memory : fs::temp_directory_path();
}

file_source file_of(const fs::path& path, std::time_t modified) {
  write_file(path, "text");
  const timespec times[] = {{0, UTIME_OMIT}, {modified, 0}};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
  return file_source{path};
}

}  // namespace

// Times at which a count of nanoseconds in 64 bits would have the other sign.
TEST_CASE("a file from long ago is cached, also for the next run; one from the future is not") {
  const scratch_folder folder{place()};
  const file_source old = file_of(folder / "old", -16'000'000'000);
  const file_source future = file_of(folder / "future", 20'000'000'000);
  {
    file_digest_cache cache{folder / "cache"};
    for (const file_source* file : {&old, &future}) {
      cache.add(file->native_handle(), md5::name(), later, some_digest);
    }
    CHECK(cache.find(old.native_handle(), md5::name()) == some_digest);
    CHECK_FALSE(cache.find(future.native_handle(), md5::name()));
  }
  const file_digest_cache next{folder / "cache"};
  CHECK(next.find(old.native_handle(), md5::name()) == some_digest);
  CHECK_FALSE(next.find(future.native_handle(), md5::name()));
}

TEST_CASE("a digest with a time that is no time is not used") {
  const scratch_folder folder{place()};
  const file_source file = file_of(folder / "file", 5);
  {
    file_digest_cache cache{folder / "cache"};
    cache.add(file.native_handle(), md5::name(), later, some_digest);
  }
  std::string line = contents(folder / "cache");
  line = line.substr(0, line.rfind(' '));  // without its checksum
  for (const char* time : {"5", "5x", "", "1e3"}) {
    CAPTURE(time);
    const auto modified = line.find(" 5 ");
    REQUIRE(modified != line.npos);
    std::string changed = line;
    changed.replace(modified, 3, ' ' + std::string{time} + ' ') += ' ';
    md5 hash;
    hash.update(std::as_bytes(std::span{changed}));
    write_file(folder / "other", changed + hash.finish().to_string() + '\n');
    const file_digest_cache cache{folder / "other"};
    const bool is_found = cache.find(file.native_handle(), md5::name()).has_value();
    CHECK(is_found == (time == std::string{"5"}));
  }
}

}  // namespace digest_cache_times_tests
