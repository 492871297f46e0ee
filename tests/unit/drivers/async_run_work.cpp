// The work of actions, and I/O that runs alongside it.

#include "support/async_run_fixture.hpp"
#include "support/script.hpp"

#include <asio/post.hpp>
#include <asio/thread_pool.hpp>
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>

namespace async_run_work_tests {

using namespace async_run_tests;

TEST_CASE("the I/O and the work of an action run concurrently") {
  operation_on_a_pipe op;
  asio::thread_pool pool{1};
  op.settings.work_executor = pool.get_executor();
  std::array<std::byte, 4> into{};
  blocking_work held;
  auto both = read_into(into);
  both.run_and_wait(held.call);
  operation_on_a_pipe::expected_outcome call;
  op.start(call, both);
  run_until_idle(op.context);
  // The work starts before the read has ended, and the read ends before the work has.
  REQUIRE(held.wait_until_started());
  op.peer_write("1234");
  CHECK(text_of(into) == "1234");
  CHECK_FALSE(call.called());
  held.release();
  poll_until(op.context, [&] { return call.called(); });
  CHECK(std::get<1>(call.result()).bytes == 4);
  CHECK_FALSE(held.call.error());
}

TEST_CASE("an action whose work ends first waits for its I/O") {
  operation_on_a_pipe op;
  asio::thread_pool pool{1};
  op.settings.work_executor = pool.get_executor();
  std::array<std::byte, 4> into{};
  work failing{[](std::error_code& ec) { ec = errc::io; }};
  auto both = read_into(into);
  both.run_and_wait(failing);
  operation_on_a_pipe::expected_outcome call;
  op.start(call, both);
  run_until_idle(op.context);
  pool.wait();
  run_until_idle(op.context);
  CHECK(failing.error() == errc::io);
  CHECK_FALSE(call.called());
  op.peer_write("1234");
  CHECK(std::get<1>(call.result()).bytes == 4);
}

TEST_CASE("work without an executor runs in place, alongside the I/O that was started before it") {
  operation_on_a_pipe op;
  std::thread::id worker;
  work noting{[&](std::error_code&) { worker = std::this_thread::get_id(); }};
  auto both = write_of("written");
  both.run_and_wait(noting);
  operation_on_a_pipe::expected_outcome call;
  op.start(call, both);
  run_until_idle(op.context);
  CHECK(worker == std::this_thread::get_id());
  CHECK(op.peer_read(100) == "written");
  CHECK(std::get<1>(call.result()).bytes == 7);
}

TEST_CASE("work can outlive its action, and an action that waits for it ends after it") {
  operation_on_a_pipe op;
  asio::thread_pool pool{1};
  op.settings.work_executor = pool.get_executor();
  blocking_work held;
  auto starting = write_of("1");
  starting.starts[0] = &held.call;
  auto meanwhile = write_of("2");
  action waiting;
  waiting.waits_for[0] = &held.call;
  auto after = write_of("3");
  operation_on_a_pipe::expected_outcomes call;
  op.start(call, {&starting, &meanwhile, &waiting, &after});
  run_until_idle(op.context);
  REQUIRE(held.wait_until_started());
  CHECK(op.peer_read(10) == "12");
  CHECK_FALSE(call.called());
  held.release();
  poll_until(op.context, [&] { return call.called(); });
  CHECK(op.peer_read(10) == "3");
  CHECK_FALSE(std::get<0>(call.result()));
}

TEST_CASE("an action does not wait for work that has ended or was never started") {
  operation_on_a_pipe op;
  asio::thread_pool pool{1};
  op.settings.work_executor = pool.get_executor();
  work ended{[](std::error_code& ec) { ec = errc::io; }};
  work never{[](std::error_code&) {}};
  action starting;
  starting.starts[1] = &ended;
  action waiting;
  waiting.waits_for = {&never, &ended};
  operation_on_a_pipe::expected_outcomes call;
  op.start(call, {&starting, &waiting, &waiting});
  poll_until(op.context, [&] { return call.called(); });
  CHECK_FALSE(std::get<0>(call.result()));
  CHECK(ended.error() == errc::io);
}

TEST_CASE("work in a queue runs in order, one piece at a time, concurrently with the other queue") {
  operation_on_a_pipe op;
  asio::thread_pool pool{2};
  op.settings.work_executor = pool.get_executor();
  std::atomic<int> order = 0;
  blocking_work first;
  work second{[&](std::error_code&) { order = order * 10 + 2; }};
  work third{[&](std::error_code&) { order = order * 10 + 3; }};
  blocking_work other;
  std::array<action, 3> steps;
  steps[0].starts = {&first.call, &other.call};
  steps[1].starts = {&second, nullptr};
  steps[2].starts = {&third, nullptr};
  action waiting;
  waiting.waits_for = {&third, &other.call};
  operation_on_a_pipe::expected_outcomes call;
  op.start(call, {&steps[0], &steps[1], &steps[2], &waiting});
  run_until_idle(op.context);
  REQUIRE(first.wait_until_started());
  REQUIRE(other.wait_until_started());  // before the first has ended
  CHECK(order == 0);
  first.release();
  poll_until(op.context, [&] { return order == 23; });
  CHECK_FALSE(call.called());
  other.release();
  poll_until(op.context, [&] { return call.called(); });
  CHECK(order == 23);
  CHECK_FALSE(std::get<0>(call.result()));
}

namespace {

// An operation with one thread for its work, and two pieces of work in one queue: the first one is
// running, the second one waits behind it.
struct two_queued_pieces {
  two_queued_pieces() {
    op.settings.work_executor = pool.get_executor();
    starting.starts[0] = &first.call;
    starting_second.starts[0] = &second;
    starting_second.waits_for[0] = &second;
    op.start(call, {&starting, &starting_second});
    run_until_idle(op.context);
    REQUIRE(first.wait_until_started());
  }

  void finish_first() {
    first.release();
    poll_until(op.context, [&] { return call.called(); });
  }

  operation_on_a_pipe op;
  asio::thread_pool pool{1};
  std::string order;
  blocking_work first;
  work<std::function<void(std::error_code&)>> second{[this](std::error_code&) { order += '2'; }};
  action starting;
  action starting_second;
  operation_on_a_pipe::expected_outcomes call;
};

}  // namespace

TEST_CASE("other work on the executor runs between two pieces of a queue") {
  two_queued_pieces queued;
  asio::post(queued.pool, [&] { queued.order += 'o'; });
  queued.finish_first();
  CHECK(queued.order == "o2");
  queued.call.result();
}

TEST_CASE("cancelling waits for the work that is running, and cancels the work queued behind it") {
  two_queued_pieces queued;
  queued.op.signal.emit(cancel::terminal);
  run_until_idle(queued.op.context);
  CHECK_FALSE(queued.call.called());
  queued.finish_first();
  CHECK_FALSE(queued.first.call.error());
  CHECK(queued.order.empty());
  CHECK(queued.second.error() == std::errc::operation_canceled);
  queued.call.result();
}

TEST_CASE("an operation does not end before the work's thread has left it") {
  // The action that waits for the work does not have to: the work has ended before.
  for (int round = 0; round < 200; ++round) {
    asio::thread_pool pool{2};
    {
      operation_on_a_pipe op;
      op.settings.work_executor = pool.get_executor();
      work quick{[](std::error_code&) {}};
      action starting;
      starting.starts[0] = &quick;
      action waiting;
      waiting.waits_for[0] = &quick;
      operation_on_a_pipe::expected_outcomes call;
      op.start(call, {&starting, &waiting});
      // Polling until the handler is called is not enough: the thread that posted it counts as
      // outstanding work of the context for a moment longer, and only run() waits for that.
      op.context.restart();
      op.context.run();
      REQUIRE(call.called());
      CHECK_FALSE(std::get<0>(call.result()));
    }  // destroys the context: a sanitizer reports a thread that still uses the operation
    pool.join();
  }
}

namespace {

action either_of(std::span<std::byte> buffer, filexfer::detail::work_base& piece) {
  action a;
  a.io = io_kind::read_write;
  a.read_buffer = buffer;
  a.or_work = true;
  a.waits_for[filexfer::detail::blocking] = &piece;
  return a;
}

// An operation that starts work, and awaits it or a read.
struct either_on_a_pipe : operation_on_a_pipe {
  either_on_a_pipe() {
    settings.work_executor = pool.get_executor();
    starting.starts[filexfer::detail::blocking] = &held.call;
    waiting.waits_for[filexfer::detail::blocking] = &held.call;
  }

  asio::thread_pool pool{1};
  std::array<std::byte, 4> into{};
  blocking_work held;
  action starting;
  action either = either_of(into, held.call);
  action reading = read_into(into, io_kind::read_some);
  action waiting;
  expected_outcomes call;
};

}  // namespace

TEST_CASE("a read_write that its work may end leaves its read pending, and a later one joins it") {
  either_on_a_pipe op;
  auto saying = write_of("done");
  op.start(op.call, {&op.starting, &op.either, &saying, &op.reading});
  run_until_idle(op.context);
  REQUIRE(op.held.wait_until_started());
  CHECK_FALSE(op.call.called());
  op.held.release();
  op.pool.join();
  run_until_idle(op.context);
  CHECK(op.peer_read(10) == "done");
  CHECK_FALSE(op.call.called());
  op.peer_write("1234");
  const auto& outcomes = std::get<1>(op.call.result());
  CHECK(outcomes[1].work_ended);
  CHECK_FALSE(outcomes[1].read);
  CHECK_FALSE(outcomes[1].error);
  CHECK(outcomes[3].bytes == 4);
  CHECK(text_of(op.into) == "1234");
}

TEST_CASE("a read_write that its work may end ends with its read, and the work is awaited later") {
  either_on_a_pipe op;
  op.start(op.call, {&op.starting, &op.either, &op.waiting});
  run_until_idle(op.context);
  REQUIRE(op.held.wait_until_started());
  op.peer_write("1234");
  CHECK_FALSE(op.call.called());
  op.held.release();
  poll_until(op.context, [&] { return op.call.called(); });
  const auto& outcomes = std::get<1>(op.call.result());
  REQUIRE(outcomes[1].read);
  CHECK(outcomes[1].read->bytes == 4);
  CHECK_FALSE(outcomes[1].work_ended);
}

TEST_CASE("work that has ended ends a read_write at once") {
  either_on_a_pipe op;
  op.held.release();
  op.start(op.call, {&op.starting, &op.waiting, &op.either});
  poll_until(op.context, [&] { return op.call.called(); });
  CHECK(std::get<1>(op.call.result())[2].work_ended);
}

TEST_CASE("cancelling a read_write that awaits work, too, ends its read, and the work is awaited") {
  either_on_a_pipe op;
  op.start(op.call, {&op.starting, &op.either, &op.waiting});
  run_until_idle(op.context);
  REQUIRE(op.held.wait_until_started());
  op.signal.emit(cancel::terminal);
  run_until_idle(op.context);
  CHECK_FALSE(op.call.called());
  op.held.release();
  poll_until(op.context, [&] { return op.call.called(); });
  CHECK(std::get<1>(op.call.result())[1].error == aborted);
  CHECK_FALSE(op.held.call.error());
}

TEST_CASE("a read_write that awaits work, too, has its deadline") {
  either_on_a_pipe op;
  op.either.deadline = deadline::reply;
  op.start(op.call, {&op.starting, &op.either, &op.waiting});
  run_until_idle(op.context);
  REQUIRE(op.held.wait_until_started());
  advance_clock(op.context, 10min);
  op.held.release();
  poll_until(op.context, [&] { return op.call.called(); });
  CHECK(std::get<1>(op.call.result())[1].error == errc::timed_out);
}

TEST_CASE("the end of work that came after the read, before it was taken back, ends nothing else") {
  either_on_a_pipe op;
  op.start(op.call, {&op.starting, &op.either, &op.reading});
  run_until_idle(op.context);
  REQUIRE(op.held.wait_until_started());
  REQUIRE(op.theirs.write_some(asio::buffer("1", 1)) == 1);  // ends the read, in a while
  op.held.release();
  op.pool.join();  // the work has ended, and says so after that
  run_until_idle(op.context);
  CHECK_FALSE(op.call.called());
  op.peer_write("2");
  const auto& outcomes = std::get<1>(op.call.result());
  CHECK(outcomes[1].read);
  CHECK_FALSE(outcomes[1].work_ended);
  CHECK(outcomes[2].bytes == 1);
}

TEST_CASE("it makes no difference which of a read and work ends first, or if both do at once") {
  for (int round = 0; round < 1000; ++round) {
    operation_on_a_pipe op;
    asio::thread_pool pool{2};
    op.settings.work_executor = pool.get_executor();
    std::array<std::byte, 1> into{};
    int runs = 0;
    work counting{[&](std::error_code&) { ++runs; }};
    action starting;
    starting.starts[filexfer::detail::blocking] = &counting;
    auto either = either_of(into, counting);
    action waiting;
    waiting.waits_for[filexfer::detail::blocking] = &counting;
    operation_on_a_pipe::expected_outcomes call;
    op.start(call, {&starting, &either, &waiting, &starting, &either, &waiting, &starting, &either,
                    &waiting});
    std::size_t sent = 0;
    poll_until(op.context, [&] {
      if (!call.called() && sent < 3) sent += op.theirs.write_some(asio::buffer("x", 1));
      return call.called();
    });
    REQUIRE(call.called());
    CHECK_FALSE(std::get<0>(call.result()));
    CHECK(runs == 3);
  }
}

}  // namespace async_run_work_tests
