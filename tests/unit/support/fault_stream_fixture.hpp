#ifndef FILEXFER_TESTS_SUPPORT_FAULT_STREAM_FIXTURE_HPP
#define FILEXFER_TESTS_SUPPORT_FAULT_STREAM_FIXTURE_HPP

// A fault_stream on one end of a memory_pipe, used blocking or asynchronously.

#include "support/transfers.hpp"

#include <filexfer/fault_stream.hpp>
#include <filexfer/memory_pipe.hpp>

#include <asio/buffer.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

namespace fault_stream_tests {

using namespace test;
using filexfer::fault_plan;
using filexfer::fault_stream;
using filexfer::memory_pipe;
using cancel = asio::cancellation_type;

inline constexpr std::string_view message = "the quick brown fox";

enum class form { blocking, asynchronous };

inline constexpr std::array both_forms{form::blocking, form::asynchronous};

/// A faulty end and its peer without faults. The peer blocks: the pipe holds whole messages.
struct faulty {
  explicit faulty(const fault_plan& plan = {})
      : ends{filexfer::make_memory_pipe(context, 1024)},
        stream{std::move(ends.first), plan},
        peer{ends.second} {}

  std::size_t read(form f, asio::mutable_buffer to, std::error_code& ec) {
    if (f == form::blocking) return stream.read_some(to, ec);
    expected_transfer call;
    start_read(call, to);
    return finish(call, ec);
  }

  std::size_t write(form f, asio::const_buffer from, std::error_code& ec) {
    if (f == form::blocking) return stream.write_some(from, ec);
    expected_transfer call;
    start_write(call, from);
    return finish(call, ec);
  }

  void start_read(expected_transfer& call, asio::mutable_buffer to) {
    call.start([&](auto handler) { stream.async_read_some(to, std::move(handler)); });
  }

  void start_write(expected_transfer& call, asio::const_buffer from) {
    call.start([&](auto handler) { stream.async_write_some(from, std::move(handler)); });
  }

  void run() {
    context.restart();
    context.run();
  }

  /// Reads until a read fails; the peer must have sent everything before.
  std::string read_all(form f, std::error_code& ec, std::size_t chunk = 7) {
    std::string all;
    std::string buffer(chunk, '\0');
    for (ec.clear(); !ec;) all.append(buffer, 0, read(f, asio::buffer(buffer), ec));
    return all;
  }

  /// Writes `text` until a write fails, and returns the number of bytes written.
  std::size_t write_all(form f, std::string_view text, std::error_code& ec) {
    std::size_t written = 0;
    for (ec.clear(); !ec && written < text.size();) {
      written += write(f, asio::buffer(text.substr(written)), ec);
    }
    return written;
  }

  void peer_sends(std::string_view text) {
    REQUIRE(peer.write_some(asio::buffer(text)) == text.size());
  }

  std::string peer_receives() {
    std::string buffer(1024, '\0');
    buffer.resize(peer.read_some(asio::buffer(buffer)));
    return buffer;
  }

  std::error_code peer_reads_error() {
    std::error_code ec;
    std::array<char, 1> to{};
    peer.read_some(asio::buffer(to), ec);
    return ec;
  }

  asio::io_context context;
  std::pair<memory_pipe, memory_pipe> ends;
  fault_stream<memory_pipe> stream;
  memory_pipe& peer;

 private:
  std::size_t finish(expected_transfer& call, std::error_code& ec) {
    run();
    std::size_t bytes = 0;
    std::tie(ec, bytes) = call.result();
    return bytes;
  }
};

}  // namespace fault_stream_tests

#endif
