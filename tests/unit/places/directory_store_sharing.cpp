// Several stores on one directory.

#include "support/directory_store_fixture.hpp"

#include <filexfer/directory_store.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace directory_store_sharing_tests {

using namespace directory_store_tests;

namespace {

TEST_CASE_FIXTURE(fixture, "two stores on one directory share their files") {
  store_type other{root};
  const auto bytes = noise(100'000);
  REQUIRE_FALSE(put(store, "a", bytes));
  CHECK(entries(other) == lines{entry("a", bytes)});
  std::error_code ec;
  CHECK(other.add_name(id_of(bytes), bytes.size(), "b", {}, ec));
  CHECK_FALSE(put(other, "a", bytes));
  CHECK(entries(store) == sorted({entry("a", bytes), entry("b", bytes)}));
}

TEST_CASE_FIXTURE(fixture,
                  "threads that publish under the same ids through several stores lose nothing") {
  store_type others[] = {store_type{root}, store_type{root}};
  std::atomic<int> failures = 0;
  constexpr int rounds = 30;
  {
    std::vector<std::jthread> running;
    for (int t = 0; t < 6; ++t) {
      running.emplace_back([&, t] {
        auto& mine = t < 2 ? store : others[t % 2];
        for (int i = 0; i < rounds; ++i) {
          const auto bytes = std::to_string(i);
          // Half of them fail after creating folders, which they then remove.
          const auto name = t % 2 == 0 ? "file" : "file/below";
          const auto ec = put(mine, name, bytes);
          if (ec && ec != errc::bad_name) ++failures;
          if (!ec && fetch(mine, id_of(bytes)) != bytes) ++failures;
          if (put(mine, "z/" + std::to_string(t), bytes)) ++failures;
          if (i % 10 == t) store_type{root};  // Opening a store cleans up, here while uploads run.
        }
      });
    }
  }
  CHECK(failures == 0);
  CHECK(entries(store).size() == rounds * 7);
  CHECK(fs::is_empty(incoming()));
}

TEST_CASE_FIXTURE(fixture,
                  "a writer that meets a lock on an id's folder changes nothing, and can go on "
                  "later, also if the folder was removed") {
  REQUIRE_FALSE(put(store, "first", "x"));
  const int held = ::open(id_folder("x").c_str(), O_RDONLY | O_DIRECTORY);
  REQUIRE(::flock(held, LOCK_EX) == 0);
  std::error_code ec;
  auto upload = store.create({"a/b", 1, {}}, ec);
  REQUIRE(upload);
  upload->write(as_bytes("x"), ec);
  upload->commit(id_of("x"), ec);
  CHECK(ec == std::errc::operation_would_block);
  CHECK_FALSE(store.add_name(id_of("x"), 1, "b", {}, ec));
  CHECK(ec == std::errc::operation_would_block);
  CHECK_FALSE(store.remove(id_of("x"), "first", ec));
  CHECK(ec == std::errc::operation_would_block);
  CHECK(entries(store) == lines{entry("first", "x")});
  // Removes the folder while holding its lock, as another writer does whose upload failed.
  fs::remove_all(id_folder("x"));
  ::close(held);
  upload->commit(id_of("x"), ec);
  CHECK_FALSE(ec);
  CHECK(entries(store) == lines{entry("a/b", "x")});
}

}  // namespace

}  // namespace directory_store_sharing_tests
