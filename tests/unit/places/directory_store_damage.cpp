// Stored files that no longer hash to their id, and files with equal digests.

#include "support/directory_store_fixture.hpp"

#include <filexfer/directory_store.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace directory_store_damage_tests {

using namespace directory_store_tests;

namespace {

TEST_CASE("an upload of a damaged file's bytes quarantines it under all its names") {
  for (const std::string_view bad : {"damXged", "dam", "damaged and longer", ""}) {
    CAPTURE(bad);
    const scratch_folder folder;
    const auto root = folder / "store";
    std::vector<std::string> log;
    store_type store{root,
                     {.quota = {}, .log = [&](std::string_view text) { log.emplace_back(text); }}};
    const auto id = root / id_of("damaged").to_string();
    REQUIRE_FALSE(put(store, "a/b", "damaged"));
    REQUIRE_FALSE(put(store, "c", "damaged"));
    damage(id / "c", bad);
    CHECK_FALSE(fetch(store, id_of("damaged")) == "damaged");

    // Under a new name that needs a folder in place of the damaged file.
    REQUIRE_FALSE(put(store, "c/d", "damaged"));
    CHECK(entries(store) == lines{entry("c/d", "damaged")});
    CHECK(fetch(store, id_of("damaged")) == "damaged");
    CHECK_FALSE(fs::exists(id / "a"));

    const auto aside = files_below(root / ".damaged");
    REQUIRE(aside.size() == 2);
    CHECK(aside[0].ends_with("/a/b"));
    CHECK(aside[1].ends_with("/c"));
    CHECK(contents(root / ".damaged" / aside[0]) == bad);
    REQUIRE(log.size() == 1);
    CHECK(log[0].find(id_of("damaged").to_string()) == 0);
  }
}

TEST_CASE_FIXTURE(fixture, "a damaged file does not hide an intact one with the same id") {
  REQUIRE_FALSE(put(store, "good", "bytes"));
  write_file(id_folder("bytes") / "bad", "0ytes");
  CHECK_FALSE(put(store, "bad", "bytes"));
  CHECK(entries(store) == sorted({entry("good", "bytes"), entry("bad", "bytes")}));
  CHECK(contents(id_folder("bytes") / "bad") == "bytes");
  CHECK(contents(id_folder("bytes") / "good") == "bytes");
  CHECK(files_below(root / ".damaged").size() == 1);
}

TEST_CASE_FIXTURE(fixture, "adding a name compares sizes, not bytes") {
  REQUIRE_FALSE(put(store, "good", "bytes"));
  write_file(id_folder("bytes") / "same size", "0ytes");
  write_file(id_folder("bytes") / "other size", "bad");
  std::error_code ec;
  for (const auto name : {"good", "same size"}) {
    CHECK(store.add_name(id_of("bytes"), 5, name, {}, ec));
    CHECK_FALSE(ec);
  }
  CHECK(contents(id_folder("bytes") / "good") == "bytes");
  CHECK(contents(id_folder("bytes") / "same size") == "0ytes");
  fs::remove(id_folder("bytes") / "same size");
  CHECK(store.add_name(id_of("bytes"), 5, "other size", {}, ec));
  CHECK_FALSE(ec);
  CHECK(contents(id_folder("bytes") / "other size") == "bytes");
}

TEST_CASE_FIXTURE(fixture, "an intact file is never replaced by another with the same digest") {
  const auto [first, second] = md5_collision();
  REQUIRE_FALSE(put(store, "a", first));
  CHECK(put(store, "a", second) == errc::collision);
  CHECK(put(store, "b", second) == errc::collision);
  CHECK_FALSE(fs::exists(root / ".damaged"));
  CHECK(contents(id_folder(first) / "a") == first);
  damage(id_folder(first) / "a", "damaged");
  CHECK_FALSE(put(store, "b", second));
  CHECK(contents(id_folder(first) / "b") == second);
}

TEST_CASE_FIXTURE(fixture,
                  "an upload does not take a name from an intact file with the same digest") {
  // As two servers leave them on a file system that does not lock across hosts.
  const auto files = md5_collision();
  const fs::path id_path = id_folder(files[0]);
  REQUIRE_FALSE(put(store, "a", files[0]));
  write_file(id_path / "b", files[1]);
  // Whichever file the store compares first, one of these uploads finds its bytes under the other
  // name.
  CHECK(put(store, "b", files[0]) == errc::collision);
  CHECK(put(store, "a", files[1]) == errc::collision);
  CHECK(files_below(id_path) == lines{"a", "b"});
  // Under a third name either may be refused, but neither is mistaken for the other.
  for (const std::string& bytes : files) {
    const auto refused = put(store, "c/d", bytes);
    CHECK((!refused || refused == errc::collision));
    if (!refused) CHECK(contents(id_path / "c/d") == bytes);
  }
  CHECK(contents(id_path / "a") == files[0]);
  CHECK(contents(id_path / "b") == files[1]);
  CHECK(files_below(incoming()).empty());
  CHECK_FALSE(fs::exists(root / ".damaged"));
}

}  // namespace

}  // namespace directory_store_damage_tests
