// Closing, destroying and shutting down an end of a memory_pipe.

#include "support/memory_pipe_fixture.hpp"
#include "support/once_handler.hpp"

#include <filexfer/memory_pipe.hpp>

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/socket_base.hpp>
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <memory>
#include <system_error>
#include <thread>
#include <utility>

namespace memory_pipe_close_tests {

using namespace memory_pipe_tests;

TEST_CASE("after an end is closed the other reads the sent bytes, then eof, and can't write") {
  two_ends pipe;
  std::error_code ec;
  pipe.a.write_some(asio::buffer("last", 4));
  SUBCASE("by close") { pipe.a.close(); }
  SUBCASE("by close with a code") {
    ec = asio::error::eof;
    pipe.a.close(ec);
    CHECK_FALSE(ec);
  }
  SUBCASE("by its destructor") { const memory_pipe destroyed{std::move(pipe.a)}; }
  SUBCASE("by assigning another end to it") {
    auto others = make_memory_pipe(pipe.context);
    pipe.a = std::move(others.first);
    CHECK(pipe.a.is_open());
  }
  SUBCASE("by shutting down both directions") { pipe.a.shutdown(asio::socket_base::shutdown_both); }
  CHECK(read_until_eof(pipe.b, 3) == "last");
  CHECK(pipe.b.write_some(asio::buffer("x", 1), ec) == 0);
  CHECK(ec == asio::error::broken_pipe);
  CHECK_THROWS_AS(pipe.b.write_some(asio::buffer("x", 1)), std::system_error);
}

TEST_CASE("closing an end completes the other end's pending transfers") {
  two_ends pipe{1};
  std::array<char, 4> to{};
  pipe.b.write_some(asio::buffer("x", 1));
  expected_transfer read, write;
  start_read(read, pipe.b, asio::buffer(to));
  start_write(write, pipe.b, asio::buffer("y", 1));
  pipe.a.close();
  pipe.run();
  check_result(read, asio::error::eof, 0);
  check_result(write, asio::error::broken_pipe, 0);
}

TEST_CASE("closing an end aborts its own pending transfers") {
  two_ends pipe{1};
  std::array<char, 4> to{};
  pipe.a.write_some(asio::buffer("x", 1));
  expected_transfer read, write;
  start_read(read, pipe.a, asio::buffer(to));
  start_write(write, pipe.a, asio::buffer("y", 1));
  SUBCASE("by close") { pipe.a.close(); }
  SUBCASE("by close, twice") {
    pipe.a.close();
    pipe.a.close();
  }
  SUBCASE("by its destructor") { const memory_pipe destroyed{std::move(pipe.a)}; }
  SUBCASE("though they have become ready") {
    pipe.b.write_some(asio::buffer("z", 1));
    pipe.b.read_some(asio::buffer(to));
    pipe.a.close();
  }
  CHECK_FALSE(pipe.a.is_open());
  CHECK(pipe.b.is_open());
  pipe.run();
  check_result(read, asio::error::operation_aborted, 0);
  check_result(write, asio::error::operation_aborted, 0);
}

TEST_CASE("a blocking transfer returns when its own end is closed") {
  // The scheduler decides whether the call starts before the end is closed; try until it did.
  bool aborted = false;
  for (int tries = 0; tries < 10'000 && !aborted; ++tries) {
    two_ends pipe{1};
    pipe.a.write_some(asio::buffer("x", 1));
    std::error_code read_ec, write_ec;
    std::array<char, 1> to{};
    std::atomic<int> started = 0;
    std::thread reader{[&] {
      ++started;
      pipe.a.read_some(asio::buffer(to), read_ec);
    }};
    std::thread writer{[&] {
      ++started;
      pipe.a.write_some(asio::buffer("y", 1), write_ec);
    }};
    while (started < 2) std::this_thread::yield();
    for (int i = 0; i < tries; ++i) std::this_thread::yield();
    pipe.a.close();
    reader.join();
    writer.join();
    for (const auto ec : {read_ec, write_ec}) {
      REQUIRE((ec == asio::error::operation_aborted || ec == asio::error::bad_descriptor));
    }
    aborted =
        read_ec == asio::error::operation_aborted && write_ec == asio::error::operation_aborted;
  }
  CHECK(aborted);
}

TEST_CASE("a blocking transfer returns when the other end is closed") {
  two_ends pipe{1};
  pipe.a.write_some(asio::buffer("x", 1));
  std::error_code read_ec, write_ec;
  std::array<char, 1> to{};
  std::thread reader{[&] { pipe.a.read_some(asio::buffer(to), read_ec); }};
  std::thread writer{[&] { pipe.a.write_some(asio::buffer("y", 1), write_ec); }};
  pipe.b.close();
  reader.join();
  writer.join();
  CHECK(read_ec == asio::error::eof);
  CHECK(write_ec == asio::error::broken_pipe);
}

TEST_CASE(
    "a context may be destroyed once the ends on it are closed, though the other ends are open") {
  asio::io_context other_context;
  auto context = std::make_unique<asio::io_context>();
  auto ends = make_memory_pipe(context->get_executor(), other_context.get_executor(), 1);
  std::array<char, 4> to{};
  ends.first.write_some(asio::buffer("x", 1));
  expected_transfer read, write;
  start_read(read, ends.first, asio::buffer(to));
  start_write(write, ends.first, asio::buffer("y", 1));
  ends.first.close();
  context->run();
  context.reset();
  check_result(read, asio::error::operation_aborted, 0);
  check_result(write, asio::error::operation_aborted, 0);
  CHECK(ends.second.read_some(asio::buffer(to)) == 1);  // which would wake the writer
  ends.second.close();
}

TEST_CASE("a pending transfer continues when its end is moved") {
  two_ends pipe;
  std::array<char, 4> to{};
  expected_transfer read;
  start_read(read, pipe.a, asio::buffer(to));
  const memory_pipe moved_to{std::move(pipe.a)};
  pipe.b.write_some(asio::buffer("abc", 3));
  pipe.run();
  check_result(read, {}, 3);
}

TEST_CASE("after shutdown_send the other end reads eof and can still write") {
  two_ends pipe;
  std::array<char, 4> to{};
  expected_transfer pending;
  start_read(pending, pipe.b, asio::buffer(to));
  std::error_code ec = asio::error::eof;
  pipe.a.shutdown(asio::socket_base::shutdown_send, ec);
  CHECK_FALSE(ec);
  CHECK(pipe.a.is_open());
  pipe.run();
  check_result(pending, asio::error::eof, 0);
  CHECK(pipe.a.write_some(asio::buffer("x", 1), ec) == 0);
  CHECK(ec == asio::error::broken_pipe);
  CHECK(pipe.b.write_some(asio::buffer("yes", 3)) == 3);
  CHECK(pipe.a.read_some(asio::buffer(to)) == 3);
}

TEST_CASE("after shutdown_receive an end reads eof and can write, and its peer can't") {
  two_ends pipe;
  std::array<char, 4> to{};
  std::error_code ec;
  pipe.b.write_some(asio::buffer("dropped", 7));
  pipe.a.shutdown(asio::socket_base::shutdown_receive);
  CHECK(pipe.a.read_some(asio::buffer(to), ec) == 0);
  CHECK(ec == asio::error::eof);
  CHECK(pipe.b.write_some(asio::buffer("x", 1), ec) == 0);
  CHECK(ec == asio::error::broken_pipe);
  CHECK(pipe.a.write_some(asio::buffer("yes", 3)) == 3);
  CHECK(pipe.b.read_some(asio::buffer(to)) == 3);
}

TEST_CASE("a transfer that succeeds clears the error code") {
  two_ends pipe;
  std::array<char, 4> to{};
  std::error_code ec = asio::error::eof;
  pipe.a.write_some(asio::buffer("x", 1), ec);
  CHECK_FALSE(ec);
  ec = asio::error::eof;
  pipe.b.read_some(asio::buffer(to), ec);
  CHECK_FALSE(ec);
}

}  // namespace memory_pipe_close_tests
