#include "support/async_run_fixture.hpp"

#include <filexfer/fault_stream.hpp>

#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/thread_pool.hpp>
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

namespace async_run_cancel_tests {

using namespace async_run_tests;

TEST_CASE("an operation cancelled before it starts does no I/O and no work") {
  operation_on_a_pipe op;
  bool worked = false;
  work noting{[&](std::error_code&) { worked = true; }};
  auto both = write_of("written");
  both.run_and_wait(noting);
  operation_on_a_pipe::expected_outcomes call;
  action after;
  op.start(call, {&both, &after});
  op.signal.emit(cancel::terminal);
  op.context.run();
  const auto& [ec, outcomes] = call.result();
  CHECK_FALSE(ec);  // the flow only collects the outcomes
  REQUIRE(outcomes.size() == 2);
  CHECK(outcomes[0].error == aborted);
  CHECK(outcomes[1].error == aborted);
  CHECK_FALSE(worked);
  CHECK(noting.error() == std::errc::operation_canceled);
  op.ours.close();
  std::error_code end;
  std::array<char, 8> rest{};
  CHECK(op.theirs.read_some(asio::buffer(rest), end) == 0);
}

namespace {

// An action with I/O and work, to be cancelled in various states, and one after it.
struct io_and_work {
  explicit io_and_work(bool reading) {
    op.settings.work_executor = pool.get_executor();
    both = reading ? read_into(into) : write_of("0123456789");
    both.run_and_wait(held.call);
    op.start(call, [this](std::error_code& ec) { return run(ec); });
    run_until_idle(op.context);
    REQUIRE(held.wait_until_started());
  }

  flow<std::vector<outcome>> run(std::error_code& ec) {
    std::vector<outcome> outcomes;
    outcomes.push_back(co_await both);
    outcomes.push_back(co_await next);
    ec = outcomes.back().error;
    co_return outcomes;
  }

  void finish_io() {
    if (both.io == io_kind::write) op.peer_read(10);
    else op.peer_write("1234");
  }
  void finish_work() {
    held.release();
    pool.wait();
    run_until_idle(op.context);
  }
  void cancel_operation() {
    op.signal.emit(cancel::terminal);
    run_until_idle(op.context);
  }

  std::vector<outcome> cancelled_outcomes() {
    const auto& [ec, outcomes] = call.result();
    CHECK(ec == aborted);
    REQUIRE(outcomes.size() == 2);
    CHECK(outcomes[1].error == aborted);
    CHECK_FALSE(held.call.error());  // it had started, and so it ends normally
    return outcomes;
  }

  operation_on_a_pipe op{4};
  asio::thread_pool pool{1};
  std::array<std::byte, 4> into{};
  blocking_work held;
  action both;
  action next;
  operation_on_a_pipe::expected_outcomes call;
};

}  // namespace

TEST_CASE(
    "an action cancelled with I/O and work pending ends its I/O, waits for its work, completes") {
  for (const bool reading : {true, false}) {
    io_and_work tested{reading};
    tested.cancel_operation();
    CHECK_FALSE(tested.call.called());
    tested.finish_work();
    CHECK(tested.cancelled_outcomes()[0].error == aborted);
  }
}

TEST_CASE(
    "an action cancelled with its I/O done and its work pending waits for the work, completes") {
  for (const bool reading : {true, false}) {
    io_and_work tested{reading};
    tested.finish_io();
    if (!reading) tested.finish_io();
    if (!reading) tested.finish_io();
    CHECK_FALSE(tested.call.called());
    tested.cancel_operation();
    CHECK_FALSE(tested.call.called());
    tested.finish_work();
    const auto outcomes = tested.cancelled_outcomes();
    CHECK_FALSE(outcomes[0].error);
    CHECK(outcomes[0].bytes == (reading ? 4 : 10));
  }
}

TEST_CASE("an action cancelled with its work done and I/O pending ends its I/O, completes") {
  for (const bool reading : {true, false}) {
    io_and_work tested{reading};
    tested.finish_work();
    CHECK_FALSE(tested.call.called());
    tested.cancel_operation();
    CHECK(tested.cancelled_outcomes()[0].error == aborted);
  }
}

TEST_CASE(
    "an action cancelled with I/O and work ended, but their handlers not run yet, completes") {
  io_and_work tested{true};
  tested.op.theirs.write_some(asio::buffer("1234", 4));
  tested.held.release();
  tested.pool.wait();
  tested.op.signal.emit(cancel::terminal);
  run_until_idle(tested.op.context);
  tested.cancelled_outcomes();
}

TEST_CASE("a write cancelled between two of its calls on the stream makes no further call") {
  const std::string text = "0123456789";
  bool completed = false;
  for (std::size_t handlers = 0; !completed; ++handlers) {
    CAPTURE(handlers);
    asio::io_context context;
    auto [ours, theirs] = filexfer::make_memory_pipe(context);
    filexfer::fault_stream<filexfer::memory_pipe> stream{std::move(ours), {.max_write = 1}};
    auto writing = write_of(text);
    asio::cancellation_signal signal;
    expected_call<void(std::error_code, outcome)> call;
    call.cancelled_by(signal.slot());
    call.start([&](auto handler) {
      async_run<manual_timer>(
          stream, {}, [&](std::error_code&) { return await_one(writing); }, std::move(handler));
    });
    for (std::size_t i = 0; i < handlers; ++i) {
      context.restart();
      context.poll_one();
    }
    completed = call.called();
    const auto before = stream.bytes_written();
    signal.emit(cancel::terminal);
    run_until_idle(context);
    const auto written = stream.bytes_written();
    CHECK(written <= before + 1);  // the pending call may have written already
    REQUIRE(call.called());
    CHECK(std::get<1>(call.result()).bytes == written);
    CHECK((written == text.size() || std::get<1>(call.result()).error == aborted));
  }
}

TEST_CASE("cancelling repeatedly, or with another type first, completes an operation once") {
  for (const cancel first : {cancel::terminal, cancel::partial, cancel::total}) {
    operation_on_a_pipe op;
    std::array<std::byte, 4> into{};
    auto reading = read_into(into);
    operation_on_a_pipe::expected_outcome call;
    op.start(call, reading);
    run_until_idle(op.context);
    op.signal.emit(first);
    op.signal.emit(cancel::terminal);
    op.signal.emit(cancel::terminal);
    run_until_idle(op.context);
    CHECK(std::get<1>(call.result()).error == aborted);
  }
}

TEST_CASE("partial or total cancellation does not affect an action that is not interruptible") {
  for (const cancel type : {cancel::partial, cancel::total}) {
    operation_on_a_pipe op;
    std::array<std::byte, 4> into{};
    auto reading = read_into(into);
    operation_on_a_pipe::expected_outcome call;
    op.start(call, reading);
    run_until_idle(op.context);
    op.signal.emit(type);
    run_until_idle(op.context);
    CHECK_FALSE(call.called());
    op.peer_write("1234");
    CHECK_FALSE(std::get<1>(call.result()).error);
  }
}

TEST_CASE(
    "partial or total cancellation interrupts an interruptible read, the current or a later one") {
  for (const cancel type : {cancel::partial, cancel::total}) {
    for (const bool now : {true, false}) {
      operation_on_a_pipe op;
      std::array<std::byte, 4> into{};
      auto first = read_into(into);
      auto second = read_into(into);
      first.interruptible = now;
      second.interruptible = true;
      operation_on_a_pipe::expected_outcomes call;
      op.start(call, {&first, &second});
      run_until_idle(op.context);
      op.signal.emit(type);
      run_until_idle(op.context);
      if (!now) op.peer_write("1234");
      const auto& [ec, outcomes] = call.result();
      REQUIRE(outcomes.size() == 2);
      CHECK(outcomes[0].error == (now ? make_error_code(errc::shutting_down) : std::error_code{}));
      CHECK(outcomes[1].error == errc::shutting_down);
    }
  }
}

TEST_CASE("a flow can cancel its own operation") {
  for (const cancel type : {cancel::terminal, cancel::total}) {
    operation_on_a_pipe op;
    std::array<std::byte, 4> into{};
    auto reading = read_into(into);
    reading.interruptible = true;
    const auto self_cancelling = [](asio::cancellation_signal& signal, cancel wanted,
                                    action& a) -> flow<outcome> {
      signal.emit(wanted);
      co_return co_await a;
    };
    operation_on_a_pipe::expected_outcome call;
    op.start(call, [&](std::error_code&) { return self_cancelling(op.signal, type, reading); });
    run_until_idle(op.context);
    const auto expected = type == cancel::terminal ? aborted : make_error_code(errc::shutting_down);
    CHECK(std::get<1>(call.result()).error == expected);
  }
}

TEST_CASE("an operation that is cancelled still closes its stream if its flow does") {
  operation_on_a_pipe op;
  std::array<std::byte, 4> into{};
  auto reading = read_into(into);
  action closing;
  closing.io = io_kind::close;
  operation_on_a_pipe::expected_outcomes call;
  op.start(call, {&reading, &closing});
  run_until_idle(op.context);
  op.signal.emit(cancel::terminal);
  run_until_idle(op.context);
  CHECK_FALSE(op.ours.is_open());
  call.result();
}

}  // namespace async_run_cancel_tests
