#ifndef FILEXFER_TESTS_SUPPORT_MEMORY_PIPE_FIXTURE_HPP
#define FILEXFER_TESTS_SUPPORT_MEMORY_PIPE_FIXTURE_HPP

// The two ends of a memory_pipe, and their asynchronous operations.

#include "support/once_handler.hpp"

#include <filexfer/memory_pipe.hpp>

#include <asio/buffer.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <cstddef>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>

namespace memory_pipe_tests {

using filexfer::make_memory_pipe;
using filexfer::memory_pipe;
using test::expected_transfer;
using cancel = asio::cancellation_type;

/// Bytes whose period is not a power of two, so that a ring buffer that wraps wrongly shows.
inline std::string pattern(std::size_t bytes) {
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < bytes; ++i) text[i] = static_cast<char>(i % 251);
  return text;
}

struct two_ends {
  explicit two_ends(std::size_t capacity = 16) : ends{make_memory_pipe(context, capacity)} {}

  void run() {
    context.restart();
    context.run();
  }

  asio::io_context context;
  std::pair<memory_pipe, memory_pipe> ends;
  memory_pipe& a = ends.first;
  memory_pipe& b = ends.second;
};

inline void start_read(expected_transfer& call, memory_pipe& pipe, asio::mutable_buffer to) {
  call.start([&](auto handler) { pipe.async_read_some(to, std::move(handler)); });
}

inline void start_write(expected_transfer& call, memory_pipe& pipe, asio::const_buffer from) {
  call.start([&](auto handler) { pipe.async_write_some(from, std::move(handler)); });
}

inline void check_result(expected_transfer& call, std::error_code ec, std::size_t bytes) {
  CHECK(call.result() == std::tuple{ec, bytes});
}

inline std::string read_until_eof(memory_pipe& pipe, std::size_t chunk) {
  std::string all;
  std::string buffer(chunk, '\0');
  std::error_code ec;
  while (!ec) all.append(buffer, 0, pipe.read_some(asio::buffer(buffer), ec));
  CHECK(ec == asio::error::eof);
  return all;
}

}  // namespace memory_pipe_tests

#endif
