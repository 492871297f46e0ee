#include "support/async_run_fixture.hpp"

#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/options.hpp>

#include <asio/thread_pool.hpp>
#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <system_error>
#include <tuple>
#include <vector>

namespace async_run_deadline_tests {

using namespace async_run_tests;

namespace {

std::chrono::nanoseconds limit_of(deadline d, const filexfer::time_limits& limits) {
  switch (d) {
    case deadline::line: return limits.line;
    case deadline::reply: return limits.reply;
    case deadline::idle: return limits.idle;
    case deadline::linger: return limits.linger;
    case deadline::none: break;
  }
  return {};
}

constexpr deadline all_deadlines[] = {deadline::line, deadline::reply, deadline::idle,
                                      deadline::linger};

}  // namespace

TEST_CASE("an action times out at its deadline, and not before") {
  CHECK(limit_of(deadline::line, {}) == 60s);
  CHECK(limit_of(deadline::idle, {}) == 60s);
  CHECK(limit_of(deadline::reply, {}) == 600s);
  CHECK(limit_of(deadline::linger, {}) == 2s);
  for (const deadline d : all_deadlines) {
    for (const bool writes : {false, true}) {
      operation_on_a_pipe op{4};
      std::array<std::byte, 4> into{};
      auto waiting = writes ? write_of("too much") : read_into(into);
      waiting.deadline = d;
      operation_on_a_pipe::expected_outcome call;
      op.start(call, waiting);
      run_until_idle(op.context);
      advance_clock(op.context, limit_of(d, {}) - epsilon);
      CHECK_FALSE(call.called());
      advance_clock(op.context, epsilon);
      CHECK(std::get<1>(call.result()).error == errc::timed_out);
      CHECK(std::get<1>(call.result()).bytes == (writes ? 4 : 0));
    }
  }
}

TEST_CASE("an action that ends just before its deadline has not timed out") {
  for (const deadline d : all_deadlines) {
    operation_on_a_pipe op;
    std::array<std::byte, 4> into{};
    auto waiting = read_into(into);
    waiting.deadline = d;
    operation_on_a_pipe::expected_outcomes call;
    op.start(call, {&waiting, &waiting});
    run_until_idle(op.context);
    // The second one has a deadline of its own.
    for (int i = 0; i < 2; ++i) {
      CHECK_FALSE(call.called());
      advance_clock(op.context, limit_of(d, {}) - epsilon);
      op.peer_write("1234");
    }
    for (const auto& out : std::get<1>(call.result())) CHECK_FALSE(out.error);
  }
}

TEST_CASE("received bytes do not move an absolute deadline") {
  for (const deadline d : {deadline::line, deadline::reply, deadline::linger}) {
    operation_on_a_pipe op;
    op.settings.limits.least_rate = 0;
    std::array<std::byte, 100> into{};
    auto bytes = read_into(into, io_kind::read_some);  // its deadline does move
    auto whole = read_into(into);
    whole.deadline = d;
    const auto limit = limit_of(d, {});
    operation_on_a_pipe::expected_outcomes call;
    op.start(call, {&bytes, &whole});
    run_until_idle(op.context);
    op.peer_write("x");
    for (int i = 0; i < 9; ++i) {
      advance_clock(op.context, limit / 10);
      op.peer_write("x");
    }
    advance_clock(op.context, limit / 10 - epsilon);
    CHECK_FALSE(call.called());
    advance_clock(op.context, epsilon);
    REQUIRE(call.called());
    CHECK(std::get<1>(call.result())[1].error == errc::timed_out);
    CHECK(std::get<1>(call.result())[1].bytes == 9);
  }
}

TEST_CASE("actions that continue a deadline share the deadline of the first") {
  operation_on_a_pipe op;
  std::array<std::byte, 100> into{};
  auto first = read_into(into, io_kind::read_some);
  first.deadline = deadline::line;
  auto next = first;
  next.continues_deadline = true;
  operation_on_a_pipe::expected_outcomes call;
  op.start(call, {&first, &next, &next, &next});
  run_until_idle(op.context);
  for (int i = 0; i < 3; ++i) {
    advance_clock(op.context, 19s);
    op.peer_write("x");
  }
  advance_clock(op.context, 3s - epsilon);
  CHECK_FALSE(call.called());
  advance_clock(op.context, epsilon);
  CHECK(std::get<1>(call.result()).back().error == errc::timed_out);
}

TEST_CASE("without a least rate, bytes may arrive as slowly as the idle timeout allows") {
  operation_on_a_pipe op;
  op.settings.limits.least_rate = 0;
  std::array<std::byte, 30> into{};
  auto bytes = read_into(into);
  operation_on_a_pipe::expected_outcome call;
  op.start(call, bytes);
  run_until_idle(op.context);
  for (int i = 0; i < 30; ++i) {
    CHECK_FALSE(call.called());
    advance_clock(op.context, 60s - epsilon);
    op.peer_write("x");
  }
  CHECK_FALSE(std::get<1>(call.result()).error);
}

TEST_CASE("a transfer below the least rate times out though it never pauses") {
  for (const bool writes : {false, true}) {
    operation_on_a_pipe op{16};
    op.settings.limits.least_rate = 2;
    const std::string text(200, 'x');
    std::vector<std::byte> into(200);
    auto bytes = writes ? write_of(text) : read_into(into);
    operation_on_a_pipe::expected_outcome call;
    op.start(call, bytes);
    run_until_idle(op.context);
    // 200 bytes may take 60 s plus 100 s.
    for (int i = 0; i < 159; ++i) {
      advance_clock(op.context, 1s);
      if (writes) op.peer_read(1);
      else op.peer_write("x");
    }
    advance_clock(op.context, 1s - epsilon);
    CHECK_FALSE(call.called());
    advance_clock(op.context, epsilon);
    CHECK(std::get<1>(call.result()).error == errc::timed_out);
    CHECK(std::get<1>(call.result()).bytes >= 159);
  }
}

TEST_CASE("a transfer at exactly the least rate does not time out") {
  operation_on_a_pipe op;
  op.settings.limits.least_rate = 2;
  std::vector<std::byte> into(200);
  auto bytes = read_into(into);
  operation_on_a_pipe::expected_outcome call;
  op.start(call, bytes);
  run_until_idle(op.context);
  for (int i = 0; i < 100; ++i) {
    advance_clock(op.context, 1s);
    op.peer_write("xx");
  }
  CHECK_FALSE(std::get<1>(call.result()).error);
}

TEST_CASE("limits of the longest possible duration never expire") {
  filexfer::time_limits endless;
  endless.line = endless.idle = endless.reply = endless.linger = std::chrono::milliseconds::max();
  endless.least_rate = 1;
  for (const deadline d : all_deadlines) {
    operation_on_a_pipe op;
    op.settings.limits = endless;
    std::array<std::byte, 4> into{};
    auto waiting = read_into(into);
    waiting.deadline = d;
    operation_on_a_pipe::expected_outcome call;
    op.start(call, waiting);
    run_until_idle(op.context);
    advance_clock(op.context, 1000h);
    op.peer_write("12");
    advance_clock(op.context, 1000h);
    CHECK_FALSE(call.called());
    op.peer_write("34");
    CHECK_FALSE(std::get<1>(call.result()).error);
  }
}

TEST_CASE("an action without a deadline never expires, and those after it have theirs") {
  operation_on_a_pipe op;
  std::array<std::byte, 4> into{};
  auto waiting = read_into(into);
  waiting.deadline = deadline::none;
  auto limited = read_into(into);
  limited.deadline = deadline::line;
  operation_on_a_pipe::expected_outcomes call;
  op.start(call, {&waiting, &limited});
  run_until_idle(op.context);
  advance_clock(op.context, 1000h);
  op.peer_write("1234");
  CHECK_FALSE(call.called());
  advance_clock(op.context, 60s);
  const auto& outcomes = std::get<1>(call.result());
  CHECK_FALSE(outcomes[0].error);
  CHECK(outcomes[1].error == errc::timed_out);
}

TEST_CASE("work has no deadline, and concurrent I/O keeps its own") {
  operation_on_a_pipe op;
  asio::thread_pool pool{1};
  op.settings.work_executor = pool.get_executor();
  blocking_work alone;
  action working;
  working.run_and_wait(alone.call);
  blocking_work other;
  std::array<std::byte, 4> into{};
  auto both = read_into(into);
  both.run_and_wait(other.call);
  operation_on_a_pipe::expected_outcomes call;
  op.start(call, {&working, &both});
  run_until_idle(op.context);
  REQUIRE(alone.wait_until_started());
  advance_clock(op.context, 24h);
  CHECK_FALSE(call.called());
  alone.release();
  poll_until(op.context, [&] { return other.has_started(); });
  REQUIRE(other.wait_until_started());
  advance_clock(op.context, 60s);
  CHECK_FALSE(call.called());  // the read has timed out, the work is still running
  other.release();
  pool.wait();
  run_until_idle(op.context);
  const auto& outcomes = std::get<1>(call.result());
  REQUIRE(outcomes.size() == 2);
  CHECK_FALSE(outcomes[0].error);
  CHECK(outcomes[1].error == errc::timed_out);
  CHECK_FALSE(other.call.error());
}

TEST_CASE("a shorter deadline after a longer one is enforced") {
  operation_on_a_pipe op;
  std::array<std::byte, 4> into{};
  auto longer = read_into(into);
  longer.deadline = deadline::reply;
  auto shorter = read_into(into);
  shorter.deadline = deadline::linger;
  operation_on_a_pipe::expected_outcomes call;
  op.start(call, {&longer, &shorter});
  run_until_idle(op.context);
  op.peer_write("1234");
  advance_clock(op.context, 2s - epsilon);
  CHECK_FALSE(call.called());
  advance_clock(op.context, epsilon);
  REQUIRE(call.called());
  const auto& outcomes = std::get<1>(call.result());
  REQUIRE(outcomes.size() == 2);
  CHECK_FALSE(outcomes[0].error);
  CHECK(outcomes[1].error == errc::timed_out);
}

TEST_CASE("a flow continues after an action that timed out") {
  operation_on_a_pipe op;
  std::array<std::byte, 4> into{};
  auto reading = read_into(into);
  operation_on_a_pipe::expected_outcomes call;
  op.start(call, {&reading, &reading});
  run_until_idle(op.context);
  advance_clock(op.context, 60s);
  CHECK_FALSE(call.called());
  op.peer_write("1234");
  const auto& outcomes = std::get<1>(call.result());
  CHECK(outcomes[0].error == errc::timed_out);
  CHECK_FALSE(outcomes[1].error);
}

}  // namespace async_run_deadline_tests
