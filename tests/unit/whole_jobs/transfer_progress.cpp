#include <filexfer/transfer_progress.hpp>

#include <doctest/doctest.h>

#include <cstdint>

namespace transfer_progress_tests {

using filexfer::format_progress;
using filexfer::transfer_progress;

namespace {

TEST_CASE("progress is formatted with files, bytes, a rate and the remaining time") {
  transfer_progress::snapshot now{12, 150, 3'400'000, 80'100'000, true};
  CHECK(format_progress(now, 12e6) == "12 of 150 files  3.4 MB of 80.1 MB  12 MB/s  0:06 left");
  CHECK(format_progress(now, 1e4) == "12 of 150 files  3.4 MB of 80.1 MB  0.0 MB/s  2:07:50 left");
  CHECK(format_progress(now, 0) == "12 of 150 files  3.4 MB of 80.1 MB  0.0 MB/s");
  now.all_known = false;
  CHECK(format_progress(now, 9.96e6) == "12 of 150+ files  3.4 MB of 80.1 MB+  10.0 MB/s");
  CHECK(format_progress({0, 1, 0, 100'000, true}, 0) == "0.0 MB of 0.1 MB  0.0 MB/s");
}

TEST_CASE("a rate counts only the bytes moved since its start") {
  filexfer::transfer_rate rate{1000};
  CHECK(rate.after(1000) == 0);
  while (rate.after(5000) == 0) {  // until time has passed
  }
  CHECK(rate.after(5000) > 0);
}

}  // namespace

}  // namespace transfer_progress_tests
