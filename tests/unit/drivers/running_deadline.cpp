#include "support/manual_clock.hpp"

#include <filexfer/detail/driver/running_deadline.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstdint>
#include <limits>

namespace running_deadline_tests {

using namespace test;
using namespace std::chrono_literals;
using filexfer::time_limits;
using filexfer::detail::action;
using filexfer::detail::deadline;
using filexfer::detail::running_deadline;

namespace {

action action_under(deadline limit) {
  action a;
  a.deadline = limit;
  return a;
}

time_limits distinct_limits() {
  time_limits limits;
  limits.line = 1s;
  limits.reply = 2s;
  limits.linger = 3s;
  limits.idle = 4s;
  limits.least_rate = 1000;
  return limits;
}

auto from_now(manual_clock::time_point when) { return when - manual_clock::now(); }

}  // namespace

TEST_CASE("each kind of deadline has its own limit") {
  running_deadline<manual_clock> running{distinct_limits()};
  running.begin(action_under(deadline::line), 1);
  CHECK(from_now(running.when()) == 1s);
  running.begin(action_under(deadline::reply), 1);
  CHECK(from_now(running.when()) == 2s);
  running.begin(action_under(deadline::linger), 1);
  CHECK(from_now(running.when()) == 3s);
  running.begin(action_under(deadline::idle), 1);
  CHECK(from_now(running.when()) == 4s);
}

TEST_CASE("an action that continues a deadline does not move it") {
  running_deadline<manual_clock> running{distinct_limits()};
  auto line = action_under(deadline::line);
  running.begin(line, 1);
  manual_clock::advance(600ms);
  line.continues_deadline = true;
  running.begin(line, 1);
  CHECK(from_now(running.when()) == 400ms);
  running.progress(line);
  CHECK(from_now(running.when()) == 400ms);
}

TEST_CASE("transferred bytes restart the idle timeout, up to the limit from the least rate") {
  running_deadline<manual_clock> running{distinct_limits()};
  const auto bytes = action_under(deadline::idle);
  running.begin(bytes, 2500);  // at 1000 a second: 2.5 s plus the idle timeout, 6.5 s in all
  manual_clock::advance(2s);
  running.progress(bytes);
  CHECK(from_now(running.when()) == 4s);
  manual_clock::advance(3s);
  running.progress(bytes);
  CHECK(from_now(running.when()) == 1500ms);
  CHECK_FALSE(running.passed());
  manual_clock::advance(1500ms);
  CHECK(running.passed());
}

TEST_CASE("a fraction of a second counts at a low rate") {
  auto limits = distinct_limits();
  limits.least_rate = 4;
  running_deadline<manual_clock> running{limits};
  const auto bytes = action_under(deadline::idle);
  running.begin(bytes, 1);
  manual_clock::advance(4s);
  running.progress(bytes);
  CHECK(from_now(running.when()) == 250ms);
}

TEST_CASE("a limit beyond the largest time point is that time point") {
  auto limits = distinct_limits();
  limits.line = std::chrono::milliseconds::max();
  limits.idle = std::chrono::milliseconds::max();
  running_deadline<manual_clock> running{limits};
  running.begin(action_under(deadline::line), 1);
  CHECK(running.when() == manual_clock::time_point::max());
  running.begin(action_under(deadline::idle), std::numeric_limits<std::uint64_t>::max());
  CHECK(running.when() == manual_clock::time_point::max());
  CHECK_FALSE(running.passed());
}

}  // namespace running_deadline_tests
