// Calls of the user's code, whose answers may come at once, later, from another thread, or never.

#include "support/async_run_fixture.hpp"

#include <filexfer/detail/driver/run.hpp>
#include <filexfer/detail/flow/flow.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace external_call_tests {

using namespace async_run_tests;
using filexfer::detail::external_call;

namespace {

using answer = std::function<void(std::error_code)>;

const std::error_code denied{errc::denied};

/// An operation that awaits an answer, which the test keeps.
struct waiting_operation : operation_on_a_pipe {
  explicit waiting_operation(external_call asks) : external{std::move(asks)} { begin(); }
  explicit waiting_operation(const filexfer::time_limits& limits = {}) {
    settings.limits = limits;
    begin();
  }

  void begin() {
    asking.io = io_kind::call;
    asking.deadline = deadline::reply;
    asking.call = &external;
    operation_on_a_pipe::start(call, asking);
    run_until_idle(context);
  }

  std::optional<answer> kept;
  external_call external{[this](answer given) { kept = std::move(given); }};
  action asking;
  expected_outcome call;

  std::error_code result() { return std::get<1>(call.result()).error; }
};

}  // namespace

TEST_CASE("an answer that is given at once, or later, is the outcome") {
  for (const std::error_code ec : {std::error_code{}, denied}) {
    waiting_operation at_once{[ec](const answer& given) { given(ec); }};
    CHECK(at_once.result() == ec);

    waiting_operation later;
    CHECK_FALSE(later.call.called());
    (*later.kept)(ec);
    CHECK_FALSE(later.call.called());  // not inside the answer
    run_until_idle(later.context);
    CHECK(later.result() == ec);
  }
}

TEST_CASE("an answer may be waited for without a limit") {
  filexfer::time_limits endless;
  endless.reply = std::chrono::milliseconds::max();
  waiting_operation op{endless};
  advance_clock(op.context, 1000h);
  CHECK_FALSE(op.call.called());
  (*op.kept)(denied);
  run_until_idle(op.context);
  CHECK(op.result() == denied);
}

TEST_CASE("an answer may come from another thread") {
  waiting_operation op;
  std::jthread other{[given = std::move(*op.kept)] { given(denied); }};
  poll_until(op.context, [&] { return op.call.called(); });
  CHECK(op.result() == denied);
}

TEST_CASE("only the first answer counts, and it may be copied") {
  waiting_operation op;
  const answer copy = *op.kept;
  copy(denied);
  (*op.kept)({});
  op.kept.reset();
  run_until_idle(op.context);
  CHECK(op.result() == denied);
}

TEST_CASE("an answer that nobody can give any more is operation_canceled") {
  waiting_operation op;
  op.kept.reset();
  run_until_idle(op.context);
  CHECK(op.result() == std::errc::operation_canceled);
}

TEST_CASE("a call that throws fails with its error, whatever is answered later") {
  std::vector<answer> kept;
  waiting_operation op{[&](answer given) {
    kept.push_back(std::move(given));
    throw std::system_error{denied};
  }};
  CHECK(op.result() == denied);
  kept.front()({});
  run_until_idle(op.context);
}

TEST_CASE("an answer that does not come in time is timed_out, and is ignored when it comes") {
  waiting_operation op;
  advance_clock(op.context, op.settings.limits.reply - epsilon);
  CHECK_FALSE(op.call.called());
  advance_clock(op.context, epsilon);
  CHECK(op.result() == errc::timed_out);
  (*op.kept)({});
  run_until_idle(op.context);
}

TEST_CASE("a late answer to one call is not taken for that to the next") {
  operation_on_a_pipe op;
  std::vector<answer> kept;
  const external_call external{[&](answer given) { kept.push_back(std::move(given)); }};
  action asking;
  asking.io = io_kind::call;
  asking.deadline = deadline::reply;
  asking.call = &external;
  operation_on_a_pipe::expected_outcomes call;
  op.start(call, {&asking, &asking});
  run_until_idle(op.context);
  advance_clock(op.context, op.settings.limits.reply);
  REQUIRE(kept.size() == 2);
  kept[0]({});
  run_until_idle(op.context);
  CHECK_FALSE(call.called());
  kept[1](denied);
  run_until_idle(op.context);
  const auto outcomes = std::get<1>(call.result());
  CHECK(outcomes[0].error == errc::timed_out);
  CHECK(outcomes[1].error == denied);
}

TEST_CASE("cancelling ends the wait for an answer") {
  waiting_operation op;
  op.signal.emit(cancel::terminal);
  CHECK_FALSE(op.call.called());
  run_until_idle(op.context);
  CHECK(op.result() == aborted);
  (*op.kept)({});
  run_until_idle(op.context);
}

TEST_CASE("an answer may come after the context is gone") {
  std::optional<answer> kept;
  {
    auto op = std::make_unique<waiting_operation>();
    kept = std::move(op->kept);
    op->call.may_be_dropped();
  }
  (*kept)({});
}

TEST_CASE("the blocking driver waits for the answer, from whichever thread it comes") {
  operation_on_a_pipe op;
  std::jthread other;
  const auto ask = [&](const external_call& external) {
    action asking;
    asking.io = io_kind::call;
    asking.call = &external;
    std::error_code ec;
    return filexfer::detail::run(
               op.ours, [&](std::error_code&) { return await_one(asking); }, ec)
        .error;
  };
  CHECK(ask([](const answer& given) { given(denied); }) == denied);
  CHECK(ask([&](answer given) {
          other = std::jthread{[given = std::move(given)] {
            given(denied);
            given({});
          }};
        }) == denied);
  CHECK(ask([](const answer&) {}) == std::errc::operation_canceled);
  CHECK(ask([](const answer&) { throw std::runtime_error{""}; }) == errc::store_failed);
}

}  // namespace external_call_tests
