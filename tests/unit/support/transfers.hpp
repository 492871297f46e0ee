#ifndef FILEXFER_TESTS_SUPPORT_TRANSFERS_HPP
#define FILEXFER_TESTS_SUPPORT_TRANSFERS_HPP

// Asynchronous reads and writes of any stream, checked by an `expected_transfer`.

#include "support/bytes.hpp"
#include "support/once_handler.hpp"

#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>

namespace test {

template <class Stream>
void start_read(expected_transfer& call, Stream& stream, asio::mutable_buffer to) {
  call.start([&](auto handler) { stream.async_read_some(to, std::move(handler)); });
}

template <class Stream>
void start_write(expected_transfer& call, Stream& stream, asio::const_buffer from) {
  call.start([&](auto handler) { stream.async_write_some(from, std::move(handler)); });
}

inline void check_result(expected_transfer& call, std::error_code ec, std::size_t bytes) {
  CHECK(call.result() == std::tuple{ec, bytes});
}

/// Reads blocking, at most `chunk` bytes at a time, and checks that the stream ends with eof.
template <class Stream>
std::string read_until_eof(Stream& stream, std::size_t chunk) {
  std::string all;
  std::string buffer(chunk, '\0');
  std::error_code ec;
  while (!ec) all.append(buffer, 0, stream.read_some(asio::buffer(buffer), ec));
  CHECK(ec == asio::error::eof);
  return all;
}

/// Writes until the stream accepts no more, and returns the bytes written.
template <class Stream>
std::string fill(asio::io_context& context, Stream& stream) {
  const auto bytes = pattern(65536);
  for (std::string written;;) {
    expected_transfer call;
    asio::cancellation_signal signal;
    call.cancelled_by(signal.slot());
    start_write(call, stream, asio::buffer(bytes));
    context.restart();
    context.poll();
    signal.emit(asio::cancellation_type::total);
    context.restart();
    context.run_for(std::chrono::seconds{10});  // enough, unless the stream ignores it
    const auto [ec, count] = call.result();
    written.append(bytes, 0, count);
    if (ec == asio::error::operation_aborted) return written;
    REQUIRE_FALSE(ec);
  }
}

/// Checks that the pending read of a stream is destroyed, without a call of its handler, when the
/// stream's context is, even though the handler owns the stream. `make(context)` makes the stream.
template <class Make>
void check_destroyed_with_its_context(Make make) {
  expected_transfer read;
  read.may_be_dropped();
  {
    asio::io_context context;
    auto made = make(context);
    auto owned = std::make_shared<decltype(made)>(std::move(made));
    auto to = std::make_shared<std::array<char, 4>>();
    read.start([&](auto handler) {
      owned->async_read_some(asio::buffer(*to),
                             [owned, to, h = std::move(handler)](
                                 std::error_code ec, std::size_t n) mutable { h(ec, n); });
    });
  }
  CHECK(read.dropped());
}

}  // namespace test

#endif
