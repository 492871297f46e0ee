// The contract of asynchronous operations: completion, executors, allocators and cancellation.

#include "support/once_handler.hpp"
#include "support/pipe_stream_fixture.hpp"

#include <filexfer/pipe_stream.hpp>

#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/read.hpp>
#include <asio/strand.hpp>
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

#include <fcntl.h>
#include <limits.h>

namespace pipe_stream_contract_tests {

using namespace pipe_stream_tests;

TEST_CASE("a transfer that is ready is not completed inside the initiating function") {
  for (const int flags : both_modes) {
    connected pipe{flags};
    std::array<char, 4> to{};
    expected_transfer write, read;
    asio::post(pipe.context, [&] {  // where an executor could run the handler at once
      start_write(write, pipe.a, asio::buffer("x", 1));
      CHECK_FALSE(write.called());
    });
    pipe.run();
    asio::post(pipe.context, [&] {
      start_read(read, pipe.b, asio::buffer(to));
      CHECK_FALSE(read.called());
    });
    pipe.run();
    check_result(write, {}, 1);
    check_result(read, {}, 1);
  }
}

TEST_CASE("a pipe stream uses the handler's executor and allocator, and keeps contexts running") {
  for (const int flags : both_modes) {
    connected pipe{flags};
    asio::io_context handlers;
    std::array<char, 4> to{};
    expected_transfer read;
    read.start_on(asio::make_strand(handlers), [&](auto handler) {
      pipe.a.async_read_some(asio::buffer(to), std::move(handler));
    });
    std::thread streams{[&] { pipe.context.run(); }};
    std::thread peer{[&] { pipe.b.write_some(asio::buffer("abc", 3)); }};
    handlers.run();
    peer.join();
    streams.join();
    check_result(read, {}, 3);
    CHECK(read.allocations() > 0);
  }
}

TEST_CASE("a pipe stream works with use_future") {
  connected pipe{0};
  std::array<char, 4> to{};
  auto read = pipe.a.async_read_some(asio::buffer(to), asio::use_future);
  auto write = pipe.b.async_write_some(asio::buffer("abc", 3), asio::use_future);
  pipe.run();
  CHECK(write.get() == 3);
  CHECK(read.get() == 3);
}

TEST_CASE("a cancelled read completes with operation_aborted and reads nothing") {
  for (const int flags : both_modes) {
    for (const auto kind : {cancel::terminal, cancel::partial, cancel::total}) {
      for (const std::string_view sent_before : {"", "abc"}) {
        CAPTURE(sent_before);
        connected pipe{flags};
        std::array<char, 9> to{};
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
        CHECK(pipe.a.read_some(asio::buffer(to)) == sent_before.size() + 3);
      }
    }
  }
}

TEST_CASE("a cancelled write completes with operation_aborted and writes nothing") {
  for (const int flags : both_modes) {
    for (const auto kind : {cancel::terminal, cancel::partial, cancel::total}) {
      connected pipe{flags};
      const std::size_t filled = fill(pipe, pipe.a);
      asio::cancellation_signal signal;
      expected_transfer write;
      write.cancelled_by(signal.slot());
      start_write(write, pipe.a, asio::buffer("x", 1));
      pipe.context.restart();
      pipe.context.poll();
      CHECK_FALSE(write.called());
      signal.emit(kind);
      pipe.run();
      check_result(write, asio::error::operation_aborted, 0);
      pipe.a.close();
      std::string got(filled + 1, '\0');
      std::error_code ec;
      CHECK(asio::read(pipe.b, asio::buffer(got), ec) == filled);
      CHECK(ec == asio::error::eof);
    }
  }
}

TEST_CASE("a read and a write are cancelled independently of each other") {
  connected pipe{0};
  fill(pipe, pipe.a);
  std::array<char, 4> to{};
  asio::cancellation_signal signal;
  expected_transfer read, write;
  read.cancelled_by(signal.slot());
  start_read(read, pipe.a, asio::buffer(to));
  start_write(write, pipe.a, asio::buffer("x", 1));
  signal.emit(cancel::terminal);
  pipe.context.restart();
  pipe.context.poll();
  check_result(read, asio::error::operation_aborted, 0);
  CHECK_FALSE(write.called());
  std::string drained(PIPE_BUF * 2, '\0');
  pipe.b.read_some(asio::buffer(drained));
  pipe.run();
  check_result(write, {}, 1);
}

TEST_CASE("a pending transfer is destroyed with its context, though its handler owns the stream") {
  expected_transfer read;
  read.may_be_dropped();
  const ends pipe = make_pipe(0);
  {
    asio::io_context context;
    auto owned = std::make_shared<pipe_stream>(context.get_executor(), pipe.read, pipe.write);
    auto to = std::make_shared<std::array<char, 4>>();
    read.start([&](auto handler) {
      owned->async_read_some(asio::buffer(*to),
                             [owned, to, h = std::move(handler)](
                                 std::error_code ec, std::size_t n) mutable { h(ec, n); });
    });
  }
  CHECK(read.dropped());
  CHECK_FALSE(is_open(pipe.read));
  CHECK_FALSE(is_open(pipe.write));
}

}  // namespace pipe_stream_contract_tests
