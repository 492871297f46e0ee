// The work of actions, and I/O that runs alongside it.

#include "support/async_run_fixture.hpp"
#include "support/script.hpp"

#include <asio/post.hpp>
#include <asio/thread_pool.hpp>
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cstddef>
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

}  // namespace async_run_work_tests
