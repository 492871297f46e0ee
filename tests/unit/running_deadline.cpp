#include "support/manual_clock.hpp"

#include <filexfer/detail/driver/running_deadline.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <limits>

namespace running_deadline_tests {

namespace {

using namespace std::chrono_literals;
using filexfer::time_limits;
using filexfer::detail::action;
using filexfer::detail::deadline;
using filexfer::detail::running_deadline;
using test::manual_clock;

action under(deadline limit) {
  action a;
  a.deadline = limit;
  return a;
}

time_limits distinct() {
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
  running_deadline<manual_clock> running{distinct()};
  running.begin(under(deadline::line), 1);
  CHECK(from_now(running.when()) == 1s);
  running.begin(under(deadline::reply), 1);
  CHECK(from_now(running.when()) == 2s);
  running.begin(under(deadline::linger), 1);
  CHECK(from_now(running.when()) == 3s);
  running.begin(under(deadline::idle), 1);
  CHECK(from_now(running.when()) == 4s);
}

TEST_CASE("an action that continues a deadline does not move it") {
  running_deadline<manual_clock> running{distinct()};
  auto line = under(deadline::line);
  running.begin(line, 1);
  manual_clock::advance(600ms);
  line.continues_deadline = true;
  running.begin(line, 1);
  CHECK(from_now(running.when()) == 400ms);
  running.progress(line);
  CHECK(from_now(running.when()) == 400ms);
}

TEST_CASE("bytes that move begin a new idle time, up to what the least rate allows") {
  running_deadline<manual_clock> running{distinct()};
  const auto bytes = under(deadline::idle);
  running.begin(bytes, 2500);  // at 1000 a second: 2.5 s and the idle time, 6.5 s in all
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

TEST_CASE("a part of a second counts at a low rate") {
  auto limits = distinct();
  limits.least_rate = 4;
  running_deadline<manual_clock> running{limits};
  const auto bytes = under(deadline::idle);
  running.begin(bytes, 1);
  manual_clock::advance(4s);
  running.progress(bytes);
  CHECK(from_now(running.when()) == 250ms);
}

TEST_CASE("a limit beyond the end of time is the end of time") {
  auto limits = distinct();
  limits.line = std::chrono::milliseconds::max();
  limits.idle = std::chrono::milliseconds::max();
  running_deadline<manual_clock> running{limits};
  running.begin(under(deadline::line), 1);
  CHECK(running.when() == manual_clock::time_point::max());
  running.begin(under(deadline::idle), std::numeric_limits<std::uint64_t>::max());
  CHECK(running.when() == manual_clock::time_point::max());
  CHECK_FALSE(running.passed());
}

}  // namespace running_deadline_tests
