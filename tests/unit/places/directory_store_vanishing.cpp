// Files that vanish from a store, or are replaced, while it is read.

#include "support/directory_store_fixture.hpp"

#include <filexfer/directory_store.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <filesystem>
#include <system_error>
#include <thread>

#include <sys/stat.h>
#include <unistd.h>

namespace directory_store_vanishing_tests {

using namespace directory_store_tests;

namespace {

TEST_CASE_FIXTURE(fixture, "a file that vanishes or is replaced while it is opened is no error") {
  REQUIRE_FALSE(put(store, "name", "bytes"));
  const auto file = id_folder("bytes") / "name";
  const auto aside = folder / "aside";
  std::atomic<bool> ends{false};
  std::thread mover{[&] {
    std::error_code ignored;
    while (!ends) {
      fs::rename(file, aside, ignored);
      fs::create_directory(file, ignored);
      fs::remove(file, ignored);
      ::mkfifo(file.c_str(), 0600);
      fs::remove(file, ignored);
      fs::rename(aside, file, ignored);
    }
  }};
  int found = 0;
  int absent = 0;
  std::error_code ec;
  for (int i = 0; i < 100'000 && !ec; ++i) {
    const auto opened = store.open(id_of("bytes"), ec);
    ++(opened ? found : absent);
  }
  ends = true;
  mover.join();
  CHECK_FALSE(ec);
  CHECK(found > 0);
  CHECK(absent > 0);
}

}  // namespace

}  // namespace directory_store_vanishing_tests
