#include <filexfer/detail/work_lane.hpp>

#include <doctest/doctest.h>

#include <string>
#include <system_error>

namespace work_lane_tests {

namespace {

using filexfer::detail::work;
using filexfer::detail::work_lane;

}  // namespace

TEST_CASE("a lane does its work in the order in which it was begun") {
  work_lane lane;
  std::string order;
  work first{[&](std::error_code&) { order += '1'; }};
  work second{[&](std::error_code&) { order += '2'; }};
  CHECK(lane.begin(first));
  CHECK_FALSE(lane.begin(second));  // who works on the first comes to it
  CHECK(lane.work_on().more);
  CHECK_FALSE(lane.work_on().more);
  CHECK(order == "12");
  CHECK(lane.begin(first));  // nobody works there any more
  CHECK_FALSE(lane.work_on().more);
  CHECK(order == "121");
}

TEST_CASE("a lane tells of the end of what is awaited, and of nothing else") {
  work_lane lane;
  work first{[](std::error_code&) {}};
  work second{[](std::error_code&) {}};
  CHECK(lane.ended_or_await(first));  // never begun
  lane.begin(first);
  lane.begin(second);
  CHECK_FALSE(lane.ended_or_await(second));
  CHECK_FALSE(lane.work_on().awaited);
  CHECK(lane.ended_or_await(first));
  CHECK(lane.work_on().awaited);
  CHECK(lane.ended_or_await(second));
}

TEST_CASE("a lane that is cancelled runs nothing more, and still comes to its end") {
  work_lane lane;
  int runs = 0;
  work counting{[&](std::error_code&) { ++runs; }};
  lane.begin(counting);
  CHECK_FALSE(lane.ended_or_await(counting));
  lane.cancel();
  const auto made = lane.work_on();
  CHECK(made.awaited);
  CHECK_FALSE(made.more);
  CHECK(runs == 0);
  CHECK(counting.error() == std::errc::operation_canceled);
}

}  // namespace work_lane_tests
