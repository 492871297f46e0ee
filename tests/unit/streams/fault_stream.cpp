// What a fault_stream passes unchanged, its limits, and its layers; not its faults.

#include "support/fault_stream_fixture.hpp"

#include <filexfer/fault_stream.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/stream.hpp>

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/socket_base.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace fault_stream_tests {

namespace {

/// A user's stream with blocking operations only, that can't be closed.
struct blocking_only_stream {
  std::size_t read_some(const auto& to, std::error_code& ec) {
    ec.clear();
    return asio::buffer_copy(to, asio::buffer("a", 1));
  }
  std::size_t write_some(const auto& from, std::error_code& ec) {
    ec.clear();
    return asio::buffer_size(from);
  }
};

using faulty_blocking_only = fault_stream<blocking_only_stream>;
static_assert(filexfer::sync_stream<faulty_blocking_only>);
static_assert(!filexfer::closable_stream<faulty_blocking_only>);
static_assert(!filexfer::half_closable_stream<faulty_blocking_only>);
static_assert(std::is_void_v<faulty_blocking_only::executor_type>);

using faulty_pipe = fault_stream<memory_pipe>;
static_assert(filexfer::sync_stream<faulty_pipe> && filexfer::async_stream<faulty_pipe>);
static_assert(filexfer::closable_stream<faulty_pipe> &&
              filexfer::half_closable_stream<faulty_pipe>);
static_assert(filexfer::async_stream<fault_stream<memory_pipe&>>);
static_assert(filexfer::async_stream<fault_stream<fault_stream<memory_pipe>>>);
static_assert(!std::is_move_assignable_v<fault_stream<memory_pipe&>>);

}  // namespace

// ------------------------------------------------------------------------------------------ limits

TEST_CASE("a fault stream without a plan changes nothing, and counts the bytes") {
  for (const form f : both_forms) {
    faulty end;
    std::error_code ec;
    CHECK(end.write(f, asio::buffer(message), ec) == message.size());
    CHECK_FALSE(ec);
    CHECK(end.peer_receives() == message);
    end.peer_sends(message);
    end.peer.close();
    CHECK(end.read_all(f, ec, 100) == message);
    CHECK(ec == asio::error::eof);
    CHECK(end.stream.bytes_written() == message.size());
    CHECK(end.stream.bytes_read() == message.size());
  }
}

TEST_CASE("no read or write moves more bytes than its maximum") {
  for (const form f : both_forms) {
    for (std::size_t max = 0; max <= message.size() + 1; ++max) {
      const std::size_t expected = std::min(std::max<std::size_t>(max, 1), message.size());
      faulty end{{.max_read = max, .max_write = max}};
      std::error_code ec;
      std::string buffer(100, '\0');
      CHECK(end.write(f, asio::buffer(message), ec) == expected);
      end.peer_sends(message);
      CHECK(end.read(f, asio::buffer(buffer), ec) == expected);
      CHECK(end.write_all(f, message.substr(expected), ec) == message.size() - expected);
      CHECK(end.peer_receives() == message);
      end.peer.close();
      CHECK(buffer.substr(0, expected) + end.read_all(f, ec) == message);
      CHECK(ec == asio::error::eof);
    }
  }
}

TEST_CASE("of several limits the first one reached applies") {
  faulty end{{.max_read = 2,
              .max_write = 2,
              .end_after_read = 5,
              .break_after_written = 5,
              .reset_after_read = 4,
              .reset_after_written = 9,
              .stall_after_read = 8}};
  std::error_code ec;
  end.peer_sends(message);
  std::array<char, 9> to{};
  CHECK(end.stream.read_some(asio::buffer(to)) == 2);
  CHECK(end.stream.write_some(asio::buffer(message)) == 2);
  CHECK(end.write_all(form::blocking, message, ec) == 3);
  CHECK(end.read_all(form::blocking, ec).size() == 2);
}

TEST_CASE("a limit applies to several buffers in sum, also when some are empty") {
  faulty end{{.max_read = 5, .max_write = 5}};
  const std::array from{asio::buffer("", 0), asio::buffer("abc", 3), asio::buffer("", 0),
                        asio::buffer("def", 3)};
  CHECK(end.stream.write_some(from) == 5);
  CHECK(end.peer_receives() == "abcde");
  end.peer_sends("uvwxyz");
  std::array<char, 4> first{}, second{};
  const std::array to{asio::buffer(first), asio::buffer(second)};
  CHECK(end.stream.read_some(to) == 5);
  CHECK(std::string_view{first.data(), 4} == "uvwx");
  CHECK(second[0] == 'y');
  CHECK(second[1] == '\0');
}

TEST_CASE("of very many buffers the first ones are transferred") {
  faulty end;
  std::array<asio::const_buffer, 40> from;
  from.fill(asio::buffer("ab", 2));
  const std::size_t bytes = end.stream.write_some(from);
  CHECK(bytes > 0);
  CHECK(end.peer_receives().size() == bytes);
  from.fill(asio::const_buffer{});
  from.back() =
      asio::buffer("ab", 2);  // a transfer of the empty buffers alone would complete with 0
  CHECK(end.stream.write_some(from) == 2);
}

TEST_CASE("a transfer of an empty buffer completes with 0, whatever fault is planned") {
  for (const form f : both_forms) {
    faulty end{{.reset_after_read = 0, .stall_after_written = 0}};
    std::error_code ec = asio::error::eof;
    CHECK(end.read(f, {}, ec) == 0);
    CHECK_FALSE(ec);
    CHECK(end.write(f, {}, ec) == 0);
    CHECK_FALSE(ec);
  }
}

TEST_CASE("a fault stream wraps a stream with blocking operations only") {
  faulty_blocking_only stream{{}, {.end_after_read = 2}};
  std::array<char, 9> to{};
  std::error_code ec;
  CHECK(stream.read_some(asio::buffer(to)) == 1);
  CHECK(stream.read_some(asio::buffer(to)) == 1);
  CHECK(stream.read_some(asio::buffer(to), ec) == 0);
  CHECK(ec == asio::error::eof);
  CHECK(stream.write_some(asio::buffer("abc", 3)) == 3);
  CHECK_THROWS_AS(stream.read_some(asio::buffer(to)), std::system_error);
}

TEST_CASE("a fault stream of a reference does not close the stream") {
  asio::io_context context;
  auto ends = filexfer::make_memory_pipe(context);
  {
    fault_stream<memory_pipe&> stream{ends.first, {.flip_written = {{0, 0}}}};
    CHECK(stream.write_some(asio::buffer("a", 1)) == 1);
    CHECK(&stream.next_layer() == &ends.first);
  }
  CHECK(ends.first.is_open());
  CHECK(ends.first.write_some(asio::buffer("c", 1)) == 1);
  std::array<char, 2> to{};
  CHECK(ends.second.read_some(asio::buffer(to)) == 2);
  CHECK(std::string_view{to.data(), 2} == "`c");
}

// ------------------------------------------------------------------------------------------ layers

TEST_CASE("closing and shutting down are passed to the next layer") {
  faulty end{{.reset_after_read = 0}};
  std::error_code ec;
  end.stream.shutdown(asio::socket_base::shutdown_send, ec);
  CHECK_FALSE(ec);
  CHECK(end.peer_reads_error() == asio::error::eof);
  CHECK(end.stream.is_open());
  end.stream.close(ec);
  CHECK_FALSE(ec);
  CHECK_FALSE(end.stream.is_open());
  CHECK_FALSE(end.stream.next_layer().is_open());
}

TEST_CASE("a closed fault stream fails as the next layer does, not as planned") {
  for (const form f : both_forms) {
    faulty end{{.reset_after_read = 0, .stall_after_read = 0, .stall_after_written = 0}};
    std::error_code ec;
    std::array<char, 4> to{};
    end.stream.close();
    CHECK(end.read(f, asio::buffer(to), ec) == 0);
    CHECK(ec == asio::error::bad_descriptor);
    CHECK(end.write(f, asio::buffer(message), ec) == 0);
    CHECK(ec == asio::error::bad_descriptor);
  }
}

}  // namespace fault_stream_tests
