// Closing, destroying and shutting down a pipe_stream.

#include "support/once_handler.hpp"
#include "support/pipe_stream_fixture.hpp"

#include <filexfer/pipe_stream.hpp>

#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/socket_base.hpp>
#include <doctest/doctest.h>

#include <array>
#include <string>
#include <system_error>
#include <utility>

#include <limits.h>

namespace pipe_stream_close_tests {

using namespace pipe_stream_tests;

TEST_CASE("closing a pipe stream completes its peer's pending read with eof") {
  for (const int flags : both_modes) {
    connected pipe{flags};
    std::array<char, 4> to{};
    expected_transfer read;
    start_read(read, pipe.b, asio::buffer(to));
    pipe.a.close();
    pipe.run();
    check_result(read, asio::error::eof, 0);
  }
}

TEST_CASE(
    "pending transfers complete with operation_aborted when the stream is closed or destroyed") {
  connected pipe{0};
  fill(pipe.context, pipe.a);
  std::array<char, 4> to{};
  expected_transfer read, write;
  start_read(read, pipe.a, asio::buffer(to));
  start_write(write, pipe.a, asio::buffer("x", 1));
  SUBCASE("closed") { pipe.a.close(); }
  SUBCASE("closed twice") {
    pipe.a.close();
    pipe.a.close();
  }
  SUBCASE("destroyed") { const pipe_stream destroyed{std::move(pipe.a)}; }
  SUBCASE("assigned to") {
    const ends other = make_pipe(0);
    pipe.a = pipe_stream{pipe.context.get_executor(), other.read, other.write};
    CHECK(pipe.a.is_open());
    pipe.a.close();
  }
  SUBCASE("though they have become ready") {
    std::string drained(PIPE_BUF * 2, '\0');
    pipe.b.read_some(asio::buffer(drained));
    pipe.b.write_some(asio::buffer("y", 1));
    pipe.a.close();
  }
  CHECK_FALSE(pipe.a.is_open());
  pipe.run();
  check_result(read, asio::error::operation_aborted, 0);
  check_result(write, asio::error::operation_aborted, 0);
}

TEST_CASE("a ready read reads nothing if it is cancelled or closed before its handler runs") {
  connected pipe{0};
  asio::io_context handlers;
  std::array<char, 4> to{};
  asio::cancellation_signal signal;
  expected_transfer read;
  read.cancelled_by(signal.slot());
  read.start_on(handlers.get_executor(), [&](auto handler) {
    pipe.a.async_read_some(asio::buffer(to), std::move(handler));
  });
  pipe.b.write_some(asio::buffer("abc", 3));
  pipe.context.poll();  // finds it ready, and posts to the handler's context
  SUBCASE("cancelled") {
    signal.emit(cancel::total);
    handlers.run();
    CHECK(pipe.a.read_some(asio::buffer(to)) == 3);
  }
  SUBCASE("closed") {
    pipe.a.close();
    handlers.run();
  }
  SUBCASE("destroyed") {
    { const pipe_stream destroyed{std::move(pipe.a)}; }
    handlers.run();
  }
  check_result(read, asio::error::operation_aborted, 0);
}

TEST_CASE("a pipe stream that is destroyed with its context closes its descriptors") {
  const ends pipe = make_pipe(0);
  check_destroyed_with_its_context([&](asio::io_context& context) {
    return pipe_stream{context.get_executor(), pipe.read, pipe.write};
  });
  CHECK_FALSE(is_open(pipe.read));
  CHECK_FALSE(is_open(pipe.write));
}

TEST_CASE("after shutdown_send the peer reads the sent bytes, then eof, and can still write") {
  for (const bool socket : {false, true}) {
    connected pipe = socket ? connected_by_socket() : connected{0};
    std::array<char, 9> to{};
    std::error_code ec = asio::error::eof;
    pipe.a.write_some(asio::buffer("last", 4));
    pipe.a.shutdown(asio::socket_base::shutdown_send, ec);
    CHECK_FALSE(ec);
    CHECK(pipe.a.is_open());
    CHECK(pipe.b.read_some(asio::buffer(to)) == 4);
    expected_transfer end;
    start_read(end, pipe.b, asio::buffer(to));
    pipe.run();
    check_result(end, asio::error::eof, 0);
    CHECK(pipe.b.write_some(asio::buffer("yes", 3)) == 3);
    CHECK(pipe.a.read_some(asio::buffer(to)) == 3);
    CHECK(pipe.a.write_some(asio::buffer("x", 1), ec) == 0);
    CHECK(ec == asio::error::bad_descriptor);
    pipe.a.shutdown(asio::socket_base::shutdown_receive);
    CHECK_FALSE(pipe.a.is_open());
  }
}

}  // namespace pipe_stream_close_tests
