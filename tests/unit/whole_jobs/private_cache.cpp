// A cache file that others can change is refused; see `file_digest_cache`.

#include "support/scratch_folder.hpp"

#include <filexfer/digest_cache.hpp>
#include <filexfer/error.hpp>
#include <filexfer/file.hpp>
#include <filexfer/md5.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <filesystem>
#include <string_view>
#include <system_error>

#include <sys/stat.h>
#include <unistd.h>

namespace private_cache_tests {

namespace {

namespace fs = std::filesystem;
using filexfer::errc;
using filexfer::file_digest_cache;
using namespace test;

TEST_CASE("a cache file that others can change is refused, and neither believed nor written") {
  const scratch_folder folder;
  write_file(folder / "file", "text");
  const filexfer::file_source file{folder / "file"};
  const auto digest = *filexfer::any_digest::from_hex("d41d8cd98f00b204e9800998ecf8427e");
  const auto kind = filexfer::md5::name();
  const auto later = std::chrono::system_clock::now() + std::chrono::hours{1};
  const auto path = folder / "cache";
  file_digest_cache{path}.add(file.native_handle(), kind, later, digest);
  REQUIRE(file_digest_cache{path}.find(file.native_handle(), kind) == digest);

  SUBCASE("of another user") {
    if (::geteuid() != 0) return;
    REQUIRE(::chown(path.c_str(), 1, static_cast<gid_t>(-1)) == 0);
  }
  SUBCASE("with another link") { fs::create_hard_link(path, folder / "link"); }
  SUBCASE("that a group can write") { REQUIRE(::chmod(path.c_str(), 0620) == 0); }
  SUBCASE("that all can write") { REQUIRE(::chmod(path.c_str(), 0602) == 0); }

  const auto before = contents(path);
  std::error_code ec;
  file_digest_cache cache{path, ec};
  CHECK(ec == errc::not_private);
  CHECK_FALSE(cache.find(file.native_handle(), kind));
  cache.add(file.native_handle(), kind, later, digest);
  CHECK(contents(path) == before);
  CHECK_THROWS_AS(file_digest_cache{path}, std::system_error);
}

}  // namespace

}  // namespace private_cache_tests
