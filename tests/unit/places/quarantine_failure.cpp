// A damaged file that can't be quarantined.

#include "support/directory_store_fixture.hpp"

#include <filexfer/directory_store.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace quarantine_failure_tests {

using namespace directory_store_tests;

namespace {

TEST_CASE("the log says so if a damaged file could not be moved") {
  const scratch_folder folder;
  const auto root = folder / "store";
  std::vector<std::string> log;
  store_type store{root,
                   {.quota = {}, .log = [&](std::string_view text) { log.emplace_back(text); }}};
  const auto id = root / id_of("bytes").to_string();
  REQUIRE_FALSE(put(store, "a/b", "bytes"));
  damage(id / "a/b", "bxtes");
  const auto quarantine = root / ".damaged";
  bool mounted = false;
  SUBCASE("since there is a file in place of the folder") { write_file(quarantine, ""); }
#if defined(__linux__)
  SUBCASE("to another file system") {
    fs::create_directory(quarantine);
    mounted = ::mount("none", quarantine.c_str(), "tmpfs", 0, "size=128k") == 0;
    if (!mounted) {
      MESSAGE("skipped: mounting a file system needs root");
      return;
    }
  }
#endif
  CHECK(put(store, "c", "bytes"));
  const bool is_clean = !mounted || fs::is_empty(quarantine);
  if (mounted) ::umount(quarantine.c_str());
  CHECK(is_clean);
  CHECK(contents(id / "a/b") == "bxtes");
  REQUIRE(log.size() == 1);
  CHECK(log[0].find("could not be moved") != std::string::npos);
  CHECK(log[0].find("was moved") == std::string::npos);
}

}  // namespace

}  // namespace quarantine_failure_tests
