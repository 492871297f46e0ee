// Verifying what is stored, and setting aside what is damaged.

#include "support/directory_store_fixture.hpp"

#include <filexfer/directory_store.hpp>
#include <filexfer/verification.hpp>

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <unistd.h>

namespace directory_store_verify_tests {

using namespace directory_store_tests;
using filexfer::stored_state;
using filexfer::verify_totals;

namespace {

struct verifying : fixture {
  lines reported;  ///< A letter for the state, the name, and why it could not be set aside.

  verify_totals verify(const filexfer::verify_options& options = {}) {
    reported.clear();
    std::error_code ec = errc::io;
    const auto on_file = [&](const filexfer::verified_file<md5_digest>& file) {
      const char state = "IDU"[static_cast<int>(file.state)];
      reported.push_back(state + (' ' + file.info.name) +
                         (file.error ? ": " + file.error.message() : std::string{}));
    };
    const auto totals = store.verify(options, on_file, ec);
    CHECK_FALSE(ec);
    reported = sorted(reported);
    return totals;
  }
};

TEST_CASE_FIXTURE(verifying, "each file is verified once, whatever its names") {
  CHECK(verify().files == 0);
  REQUIRE_FALSE(put(store, "a", noise(300'000)));
  REQUIRE_FALSE(put(store, "folder/b", noise(300'000)));
  REQUIRE_FALSE(put(store, "empty", ""));
  const auto totals = verify();
  CHECK(totals.files == 2);
  CHECK(totals.bytes == 300'000);
  CHECK(totals.damaged == 0);
  CHECK(reported.size() == 2);
  CHECK_FALSE(fs::exists(root / ".damaged"));
}

TEST_CASE_FIXTURE(verifying, "a damaged file is set aside with all its names, and no other") {
  const auto bytes = noise(300'000, 1);
  REQUIRE_FALSE(put(store, "a/b", bytes));
  REQUIRE_FALSE(put(store, "c", bytes));
  REQUIRE_FALSE(put(store, "other time", bytes, bytes.size(), filexfer::file_time{1, 0}));
  REQUIRE_FALSE(put(store, "alone/in/folder", "bytes"));
  REQUIRE_FALSE(put(store, "good", noise(1000)));
  auto bad = bytes;
  bad[299'999] ^= 1;
  damage(id_folder(bytes) / "c", bad);
  damage(id_folder("bytes") / "alone/in/folder", "byte");
  const auto totals = verify();
  CHECK(totals.files == 4);
  CHECK(totals.damaged == 2);
  CHECK(totals.unreadable == 0);
  CHECK(entries(store) == sorted({entry("other time", bytes), entry("good", noise(1000))}));
  CHECK_FALSE(fs::exists(id_folder("bytes")));
  CHECK(files_below(root / ".damaged").size() == 3);
  CHECK(verify().damaged == 0);
  // An upload of the good bytes brings it back, under the name that it has.
  REQUIRE_FALSE(put(store, "c", bytes));
  REQUIRE_FALSE(put(store, "alone/in/folder", "bytes"));
  CHECK(entries(store) == sorted({entry("other time", bytes), entry("good", noise(1000)),
                                  entry("c", bytes), entry("alone/in/folder", "bytes")}));
  CHECK(verify().files == 3);  // "c" and "other time" are one file, as no time was given
  CHECK(verify().damaged == 0);
}

TEST_CASE_FIXTURE(verifying, "a file that can't be read is reported, and stays where it is") {
  REQUIRE_FALSE(put(store, "file", "bytes"));
  const auto path = id_folder("bytes") / "file";
  bool mounted = false;
#if defined(__linux__)
  // Root may read every file; but one of sysfs is shorter than it says.
  constexpr const char* shorter = "/sys/kernel/uevent_seqnum";
  mounted = ::mount(shorter, path.c_str(), nullptr, MS_BIND, nullptr) == 0;
#endif
  if (!mounted && ::geteuid() == 0) {
    MESSAGE("skipped: root may read every file, and nothing can be mounted here");
    return;
  }
  if (!mounted) fs::permissions(path, fs::perms::none);
  const auto totals = verify();
  if (mounted) ::umount(path.c_str());
  else fs::permissions(path, fs::perms::owner_read);
  CHECK(totals.unreadable == 1);
  CHECK(totals.damaged == 0);
  REQUIRE(reported.size() == 1);
  CHECK(reported[0].starts_with("U file: "));
  CHECK(verify().files == 1);
  CHECK(reported == lines{"I file"});
}

TEST_CASE_FIXTURE(verifying,
                  "a damaged file that can't be set aside is reported, and stays listed") {
  REQUIRE_FALSE(put(store, "file", "bytes"));
  damage(id_folder("bytes") / "file", "byte");
  write_file(root / ".damaged", "a file in place of the folder");
  CHECK(verify().damaged == 1);
  CHECK(reported == lines{"D file: Not a directory"});
  CHECK(entries(store).size() == 1);
}

TEST_CASE_FIXTURE(verifying, "the parts make the whole") {
  for (int i = 0; i < 40; ++i) REQUIRE_FALSE(put(store, "file", std::to_string(i)));
  std::uint64_t files = 0;
  for (std::size_t part = 0; part < 3; ++part) {
    const auto found = verify({.parts = 3, .part = part}).files;
    CHECK(found > 0);
    CHECK(found < 40);
    files += found;
  }
  CHECK(files == 40);
}

TEST_CASE_FIXTURE(verifying, "a verification stops within a file, and reports no part of it") {
  REQUIRE_FALSE(put(store, "large", noise(1'000'000)));
  int chunks = 0;
  filexfer::verify_options options;
  options.should_stop = [&] { return ++chunks == 3; };
  std::error_code ec;
  const auto fail = [](const auto&) { FAIL_CHECK("a file was reported"); };
  CHECK(store.verify(options, fail, ec).files == 0);
  CHECK(ec == std::errc::operation_canceled);
  CHECK(entries(store).size() == 1);
  // Also while it waits to keep to a rate that would take hours.
  options.max_rate = 10;
  chunks = 0;
  CHECK(store.verify(options, fail, ec).files == 0);
  CHECK(ec == std::errc::operation_canceled);
}

TEST_CASE_FIXTURE(verifying, "a verification keeps to its rate") {
  REQUIRE_FALSE(put(store, "a", noise(100'000, 1)));
  REQUIRE_FALSE(put(store, "b", noise(100'000, 2)));
  const auto start = std::chrono::steady_clock::now();
  CHECK(verify({.max_rate = 1'000'000}).files == 2);
  CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds{190});
}

TEST_CASE_FIXTURE(verifying, "a damaged file is moved once its id's lock is free") {
  REQUIRE_FALSE(put(store, "file", "bytes"));
  damage(id_folder("bytes") / "file", "byte");
  const int held = ::open(id_folder("bytes").c_str(), O_RDONLY | O_DIRECTORY);
  REQUIRE(::flock(held, LOCK_EX) == 0);
  std::atomic<bool> ended{false};
  std::jthread verifier{[&] {
    std::error_code ec;
    store.verify(
        {}, [](const auto&) {}, ec);
    ended = true;
  }};
  std::this_thread::sleep_for(std::chrono::milliseconds{100});  // most likely it waits by now
  CHECK_FALSE(ended);
  CHECK(entries(store).size() == 1);
  ::close(held);
  verifier.join();
  CHECK(entries(store).empty());
}

TEST_CASE_FIXTURE(verifying, "files come and go while they are verified, and none is set aside") {
  constexpr int threads = 3;
  std::atomic<int> failures{0};
  std::atomic<int> running{threads};
  {
    std::vector<std::jthread> writers;
    for (int t = 0; t < threads; ++t) {
      writers.emplace_back([&, t] {
        store_type mine{root};
        for (int i = 0; i < 40; ++i) {
          const auto bytes = std::to_string(i % 7);
          const auto remove = [&](std::error_code& ec) {
            mine.remove(id_of(bytes), std::to_string(t), ec);
          };
          if (put(mine, std::to_string(t), bytes)) ++failures;
          if (i % 3 == 0 && when_unlocked(remove)) ++failures;
        }
        --running;
      });
    }
    while (running > 0) {
      std::error_code ec;
      if (store.verify(
                   {}, [](const auto&) {}, ec)
                  .damaged > 0 ||
          ec)
        ++failures;
    }
  }
  CHECK(failures == 0);
  CHECK_FALSE(fs::exists(root / ".damaged"));
}

}  // namespace

}  // namespace directory_store_verify_tests
