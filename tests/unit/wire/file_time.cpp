// The times of files: what they hold, how they are written, and how they become a clock's.

#include <filexfer/fields.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace file_time_tests {

using filexfer::file_time;
using filexfer::format_time;
using filexfer::parse_time;
using std::chrono::nanoseconds;
using std::chrono::sys_time;

namespace {

constexpr std::int64_t least = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();

/// A number of up to 63 bits, of which small and large ones are as likely, and its sign.
std::int64_t any_seconds(std::mt19937_64& random) {
  const auto seconds = static_cast<std::int64_t>(random() >> (1 + random() % 63));
  return random() % 2 == 0 ? seconds : -seconds - 1;
}

TEST_CASE("a time is written as it was read, from the earliest to the latest") {
  const std::vector<std::pair<std::string, file_time>> times{
      {"0", {}},
      {"0.000000001", {0, 1}},
      {"-0.000000001", {-1, 999'999'999}},
      {"-0.5", {-1, 500'000'000}},
      {"-1", {-1, 0}},
      {"-1.5", {-2, 500'000'000}},
      {"9223372036.854775807", {9'223'372'036, 854'775'807}},  // the ends of sys_time
      {"9223372036.854775808", {9'223'372'036, 854'775'808}},
      {"-9223372036.854775808", {-9'223'372'037, 145'224'192}},
      {"-9223372036.854775809", {-9'223'372'037, 145'224'191}},
      {"-20000000000", {-20'000'000'000, 0}},
      {"20000000000.25", {20'000'000'000, 250'000'000}},
      {"9223372036854775807", {most, 0}},
      {"9223372036854775807.999999999", file_time::max()},
      {"-9223372036854775807", {-most, 0}},
      {"-9223372036854775807.9", {least, 100'000'000}},
      {"-9223372036854775807.999999999", file_time::min()}};
  for (const auto& each : times) {
    CAPTURE(each.first);
    const auto parsed = parse_time(each.first);
    REQUIRE(parsed);
    CHECK(parsed->seconds() == each.second.seconds());
    CHECK(parsed->nanoseconds() == each.second.nanoseconds());
    CHECK(format_time(each.second) == each.first);
  }
}

TEST_CASE("any time survives being written and read") {
  std::mt19937_64 random{1};
  for (int round = 0; round < 100'000; ++round) {
    const auto nanoseconds_part =
        random() % 4 == 0 ? 0 : static_cast<std::int32_t>(random() % 1'000'000'000);
    const file_time time{any_seconds(random), nanoseconds_part};
    const std::string text = format_time(time);
    if (parse_time(text) != time) FAIL(text);
  }
}

TEST_CASE("a time that the protocol can't carry becomes the earliest that it can") {
  CHECK(file_time{least, 0} == file_time::min());
  CHECK(file_time{least, 1} == file_time::min());
  CHECK(file_time{std::chrono::seconds::min()} == file_time::min());
}

TEST_CASE("times are ordered") {
  const std::vector<file_time> times{file_time::min(),
                                     {-20'000'000'000, 999'999'999},
                                     {-2, 500'000'000},
                                     {-1, 0},
                                     {-1, 1},
                                     {0, 0},
                                     {0, 1},
                                     {20'000'000'000, 0},
                                     file_time::max()};
  for (std::size_t i = 1; i < times.size(); ++i) {
    CAPTURE(i);
    CHECK(times[i - 1] < times[i]);
    CHECK(times[i] > times[i - 1]);
    CHECK(times[i] != times[i - 1]);
  }
}

TEST_CASE("a clock's time becomes a file's time and back") {
  using namespace std::chrono_literals;
  const file_time now = std::chrono::system_clock::now();
  CHECK(now > file_time{1'000'000'000s});
  CHECK(now <= std::chrono::system_clock::now());
  CHECK(file_time{1500ms} == file_time{1, 500'000'000});
  CHECK(file_time{-1500ms} == file_time{-2, 500'000'000});
  CHECK(file_time{-1ns} == file_time{-1, 999'999'999});
  CHECK(file_time{-2h} == file_time{-7200, 0});
  CHECK(file_time{std::chrono::sys_days{std::chrono::year{1969} / 12 / 31}} ==
        file_time{-86'400, 0});
  // What would be rounded is not converted silently.
  static_assert(!std::is_constructible_v<file_time, std::chrono::duration<double>>);
  static_assert(!std::is_constructible_v<file_time, std::chrono::duration<int, std::pico>>);
  static_assert(!std::is_convertible_v<std::chrono::seconds, file_time>);

  std::mt19937_64 random{2};
  for (int round = 0; round < 10'000; ++round) {
    const sys_time<nanoseconds> time{nanoseconds{any_seconds(random)}};
    if (file_time{time}.clamped_sys_time() != time) FAIL(time.time_since_epoch().count());
  }
}

TEST_CASE("a time before 1677 or after 2262 becomes the clock's first or last") {
  constexpr auto first = sys_time<nanoseconds>::min();
  constexpr auto last = sys_time<nanoseconds>::max();
  static_assert(file_time{first}.clamped_sys_time() == first);
  static_assert(file_time{last}.clamped_sys_time() == last);
  static_assert(file_time{first + nanoseconds{1}}.clamped_sys_time() == first + nanoseconds{1});
  static_assert(file_time{last - nanoseconds{1}}.clamped_sys_time() == last - nanoseconds{1});
  for (const file_time early :
       {file_time::min(), file_time{-20'000'000'000, 5}, file_time{-9'223'372'037, 145'224'191}}) {
    CHECK(early.clamped_sys_time() == first);
  }
  for (const file_time late :
       {file_time::max(), file_time{20'000'000'000, 5}, file_time{9'223'372'036, 854'775'808}}) {
    CHECK(late.clamped_sys_time() == last);
  }
}

}  // namespace

}  // namespace file_time_tests
