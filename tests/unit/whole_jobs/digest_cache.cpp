#include "support/scratch_folder.hpp"

#include <filexfer/digest_cache.hpp>
#include <filexfer/file.hpp>
#include <filexfer/sha256.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <system_error>

#include <sys/stat.h>

namespace digest_cache_tests {

namespace fs = std::filesystem;
using namespace test;
using namespace std::chrono_literals;
using filexfer::any_digest;
using filexfer::file_digest_cache;
using filexfer::file_source;
using filexfer::md5;
using filexfer::sha256;

namespace {

const any_digest first = *any_digest::from_hex("d41d8cd98f00b204e9800998ecf8427e");
const any_digest second = *any_digest::from_hex("900150983cd24fb0d6963f7d28e17f72");

/// A start of a digest's computation that is well after all files here were written.
const auto later = std::chrono::system_clock::now() + 1h;

TEST_CASE("a digest is found by the cache that it was added to and by the next one") {
  const scratch_folder folder;
  write_file(folder / "file", "text");
  const file_source file{folder / "file"};
  {
    file_digest_cache cache{folder / "cache"};
    CHECK(!cache.find(file.native_handle(), md5::name()));
    cache.add(file.native_handle(), md5::name(), later, first);
    CHECK(cache.find(file.native_handle(), md5::name()) == first);
    CHECK(!cache.find(file.native_handle(), sha256::name()));
  }
  const file_digest_cache again{folder / "cache"};
  CHECK(again.find(file.native_handle(), md5::name()) == first);
  CHECK(fs::status(folder / "cache").permissions() ==
        (fs::perms::owner_read | fs::perms::owner_write));
}

TEST_CASE("a changed file is not found") {
  const scratch_folder folder;
  write_file(folder / "file", "text");
  file_digest_cache cache{folder / "cache"};
  {
    const file_source file{folder / "file"};
    cache.add(file.native_handle(), md5::name(), later, first);
  }
  write_file(folder / "file", "other");
  CHECK(!cache.find(file_source{folder / "file"}.native_handle(), md5::name()));
}

TEST_CASE("the digest of a file that was just modified is not stored") {
  const scratch_folder folder;
  write_file(folder / "file", "text");
  const file_source file{folder / "file"};
  file_digest_cache cache{folder / "cache"};
  cache.add(file.native_handle(), md5::name(), std::chrono::system_clock::now(), first);
  CHECK(!cache.find(file.native_handle(), md5::name()));
  CHECK(fs::file_size(folder / "cache") == 0);
}

struct two_files {
  two_files() : a{made("a")}, b{made("b")} {}

  scratch_folder folder;
  file_source a;
  file_source b;

 private:
  fs::path made(const char* name) const {
    write_file(folder / name, "text");
    return folder / name;
  }
};

/// Checks that the next cache in this folder has the digest `second` for `b`, and none for `a`.
void check_only_b_is_stored(const two_files& files) {
  const file_digest_cache next{files.folder / "cache"};
  CHECK(!next.find(files.a.native_handle(), md5::name()));
  CHECK(next.find(files.b.native_handle(), md5::name()) == second);
}

TEST_CASE("forgotten and replaced digests stay so in the next cache") {
  const two_files files;
  const auto& [folder, a, b] = files;
  {
    file_digest_cache cache{folder / "cache"};
    for (const auto* file : {&a, &b}) cache.add(file->native_handle(), md5::name(), later, first);
    cache.forget(a.native_handle(), md5::name());
    CHECK(!cache.find(a.native_handle(), md5::name()));
    cache.add(b.native_handle(), md5::name(), later, second);
  }
  check_only_b_is_stored(files);
}

TEST_CASE("lines that are truncated, corrupted or foreign are skipped") {
  const two_files files;
  const auto& [folder, a, b] = files;
  {
    file_digest_cache cache{folder / "cache"};
    cache.add(a.native_handle(), md5::name(), later, first);
  }
  std::string text = contents(folder / "cache");

  SUBCASE("truncated, at every byte") {
    for (std::size_t size = 0; size + 1 < text.size(); ++size) {
      write_file(folder / "cache", text.substr(0, size));
      {
        file_digest_cache cache{folder / "cache"};
        CHECK(!cache.find(a.native_handle(), md5::name()));
        cache.add(b.native_handle(), md5::name(), later, second);
      }
      check_only_b_is_stored(files);
    }
  }
  SUBCASE("corrupted, at every byte") {
    for (std::size_t i = 0; i + 1 < text.size(); ++i) {
      std::string corrupted = text;
      corrupted[i] = static_cast<char>(corrupted[i] ^ 1);
      write_file(folder / "cache", corrupted);
      const file_digest_cache cache{folder / "cache"};
      CHECK(!cache.find(a.native_handle(), md5::name()));
    }
  }
  SUBCASE("foreign") {
    std::string all(200'000, 'x');
    all += "\n\n \n";
    all += text;
    write_file(folder / "cache", all);
    const file_digest_cache cache{folder / "cache"};
    CHECK(cache.find(a.native_handle(), md5::name()) == first);
  }
}

TEST_CASE("a path that can't hold a cache is reported, and a FIFO is not written to") {
  const scratch_folder folder;
  std::error_code ec;
  const file_digest_cache in_folder{folder.path(), ec};
  CHECK(ec == std::errc::is_a_directory);
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  file_digest_cache in_fifo{folder / "fifo", ec};
  CHECK(ec == std::errc::not_supported);
  CHECK_THROWS_AS(file_digest_cache{folder / "none/cache"}, std::system_error);

  write_file(folder / "file", "text");
  const file_source file{folder / "file"};
  in_fifo.add(file.native_handle(), md5::name(), later, first);
  CHECK(in_fifo.find(file.native_handle(), md5::name()) == first);
}

}  // namespace

}  // namespace digest_cache_tests
