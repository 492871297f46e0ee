// The contract of asynchronous operations: completion, executors, allocators and cancellation.

#include "support/memory_pipe_fixture.hpp"
#include "support/once_handler.hpp"

#include <filexfer/memory_pipe.hpp>

#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

namespace memory_pipe_contract_tests {

using namespace memory_pipe_tests;

// -------------------------------------------------------------------------------------- completion

TEST_CASE("a transfer that is ready is not completed inside the initiating function") {
  two_ends pipe;
  std::array<char, 4> to{};
  expected_transfer write, read;
  asio::post(pipe.context, [&] {  // where an executor could run the handler at once
    start_write(write, pipe.a, asio::buffer("x", 1));
    start_read(read, pipe.b, asio::buffer(to));
    CHECK_FALSE(write.called());
    CHECK_FALSE(read.called());
  });
  pipe.run();
  check_result(write, {}, 1);
  check_result(read, {}, 1);
}

TEST_CASE("a pending transfer is not completed inside the peer's call") {
  two_ends pipe;
  std::array<char, 4> to{};
  expected_transfer read;
  start_read(read, pipe.b, asio::buffer(to));
  asio::post(pipe.context, [&] {
    pipe.a.write_some(asio::buffer("x", 1));
    CHECK_FALSE(read.called());
  });
  pipe.run();
  check_result(read, {}, 1);
}

TEST_CASE(
    "a memory pipe allocates from the handler's allocator, and deallocates before completing") {
  two_ends pipe;
  std::array<char, 4> to{};
  expected_transfer pending, immediate;
  start_read(pending, pipe.b, asio::buffer(to));
  start_write(immediate, pipe.a, asio::buffer("x", 1));
  pipe.run();
  check_result(pending, {}, 1);  // also checks that no memory is outstanding
  check_result(immediate, {}, 1);
  CHECK(pending.allocations() > 0);
}

TEST_CASE("a memory pipe completes on the handler's executor, and keeps its context running") {
  asio::io_context handlers;
  asio::thread_pool streams{1};
  auto ends = make_memory_pipe(streams.get_executor(), streams.get_executor(), 16);
  std::array<char, 4> to{};
  expected_transfer pending, immediate;
  pending.start_on(asio::make_strand(handlers), [&](auto handler) {
    ends.first.async_read_some(asio::buffer(to), std::move(handler));
  });
  immediate.start_on(handlers.get_executor(), [&](auto handler) {
    ends.first.async_write_some(asio::buffer("x", 1), std::move(handler));
  });
  handlers.run_one();
  check_result(immediate, {}, 1);
  handlers.poll();
  CHECK_FALSE(pending.called());
  std::thread peer{[&] { ends.second.write_some(asio::buffer("ab", 2)); }};
  handlers.run();  // returns early unless the pending read counts as work
  peer.join();
  check_result(pending, {}, 2);
}

TEST_CASE("a pending transfer keeps the pipe's own context running") {
  two_ends pipe;
  std::array<char, 4> to{};
  expected_transfer read;
  start_read(read, pipe.a, asio::buffer(to));
  std::thread peer{[&] { pipe.b.write_some(asio::buffer("ab", 2)); }};
  pipe.context.run();
  peer.join();
  check_result(read, {}, 2);
}

TEST_CASE("a memory pipe works with use_future") {
  asio::thread_pool pool{1};
  auto ends = make_memory_pipe(pool.get_executor(), 16);
  std::array<char, 4> to{};
  auto read = ends.first.async_read_some(asio::buffer(to), asio::use_future);
  auto write = ends.second.async_write_some(asio::buffer("abc", 3), asio::use_future);
  CHECK(write.get() == 3);
  CHECK(read.get() == 3);
  ends.second.close();
  auto end = ends.first.async_read_some(asio::buffer(to), asio::use_future);
  CHECK_THROWS_AS(end.get(), std::system_error);
}

TEST_CASE("one read and one write may be pending at one end") {
  two_ends pipe{1};
  std::array<char, 4> to{};
  pipe.a.write_some(asio::buffer("x", 1));
  expected_transfer read, write;
  start_read(read, pipe.a, asio::buffer(to));
  start_write(write, pipe.a, asio::buffer("y", 1));
  pipe.context.poll();
  CHECK_FALSE(read.called());
  CHECK_FALSE(write.called());
  CHECK(pipe.b.read_some(asio::buffer(to)) == 1);
  pipe.context.poll();
  check_result(write, {}, 1);
  CHECK_FALSE(read.called());
  pipe.b.write_some(asio::buffer("z", 1));
  pipe.run();
  check_result(read, {}, 1);
}

TEST_CASE("a pending transfer is destroyed with its context, though its handler owns the end") {
  expected_transfer read;
  read.may_be_dropped();
  {
    asio::io_context context;
    auto ends = make_memory_pipe(context);
    auto owned = std::make_shared<memory_pipe>(std::move(ends.first));
    auto to = std::make_shared<std::array<char, 4>>();
    read.start([&](auto handler) {
      owned->async_read_some(asio::buffer(*to),
                             [owned, to, h = std::move(handler)](
                                 std::error_code ec, std::size_t n) mutable { h(ec, n); });
    });
  }
  CHECK(read.dropped());
}

// ------------------------------------------------------------------------------------ cancellation

TEST_CASE("a cancelled read completes with operation_aborted and reads nothing") {
  for (const auto kind : {cancel::terminal, cancel::partial, cancel::total}) {
    for (const std::string_view sent_before : {"", "abc"}) {
      CAPTURE(sent_before);
      two_ends pipe;
      std::array<char, 4> to{};
      asio::cancellation_signal signal;
      expected_transfer read;
      read.cancelled_by(signal.slot());
      start_read(read, pipe.a, asio::buffer(to));
      pipe.b.write_some(asio::buffer(sent_before));
      signal.emit(kind);
      CHECK_FALSE(read.called());
      pipe.run();
      check_result(read, asio::error::operation_aborted, 0);
      pipe.b.write_some(asio::buffer("def", 3));
      pipe.b.close();
      CHECK(read_until_eof(pipe.a, 8) == std::string{sent_before} + "def");
    }
  }
}

TEST_CASE("a cancelled write completes with operation_aborted and writes nothing") {
  for (const auto kind : {cancel::terminal, cancel::partial, cancel::total}) {
    two_ends pipe{2};
    pipe.a.write_some(asio::buffer("ab", 2));
    asio::cancellation_signal signal;
    expected_transfer write;
    write.cancelled_by(signal.slot());
    start_write(write, pipe.a, asio::buffer("cd", 2));
    signal.emit(kind);
    pipe.run();
    check_result(write, asio::error::operation_aborted, 0);
    pipe.a.close();
    CHECK(read_until_eof(pipe.b, 8) == "ab");
  }
}

TEST_CASE("cancelling a transfer that is already complete changes nothing") {
  two_ends pipe;
  asio::cancellation_signal signal;
  expected_transfer write;
  write.cancelled_by(signal.slot());
  start_write(write, pipe.a, asio::buffer("ab", 2));
  signal.emit(cancel::terminal);
  pipe.run();
  signal.emit(cancel::terminal);
  check_result(write, {}, 2);
}

}  // namespace memory_pipe_contract_tests
