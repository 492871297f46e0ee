// The planned faults: ends, breaks and resets, flipped bits, stalls.

#include "support/fault_stream_fixture.hpp"
#include "support/once_handler.hpp"

#include <filexfer/fault_stream.hpp>
#include <filexfer/memory_pipe.hpp>

#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <utility>

namespace fault_stream_faults_tests {

using namespace fault_stream_tests;

namespace {

std::string with_bit_flipped(std::string_view text, std::size_t byte, unsigned bit) {
  std::string result{text};
  result[byte] = static_cast<char>(static_cast<unsigned char>(result[byte]) ^ (1u << bit));
  return result;
}

}  // namespace

// ------------------------------------------------------------------------- ends, breaks and resets

TEST_CASE("a stream that ends after N bytes reads exactly those, and can still be written") {
  for (const form f : both_forms) {
    for (std::size_t n = 0; n <= message.size(); ++n) {
      faulty end{{.end_after_read = n}};
      std::error_code ec;
      end.peer_sends(message);
      CHECK(end.read_all(f, ec) == message.substr(0, n));
      CHECK(ec == asio::error::eof);
      CHECK(end.read_all(f, ec).empty());
      CHECK(ec == asio::error::eof);
      CHECK(end.write_all(f, message, ec) == message.size());
      CHECK(end.peer_receives() == message);
    }
  }
}

TEST_CASE("a stream that breaks after N bytes writes exactly those, and can still be read") {
  for (const form f : both_forms) {
    for (std::size_t n = 0; n < message.size(); ++n) {
      faulty end{{.break_after_written = n}};
      std::error_code ec;
      CHECK(end.write_all(f, message, ec) == n);
      CHECK(ec == asio::error::broken_pipe);
      CHECK(end.write_all(f, message, ec) == 0);
      CHECK(ec == asio::error::broken_pipe);
      end.peer_sends("ERROR");
      std::string buffer(5, '\0');
      CHECK(end.read(f, asio::buffer(buffer), ec) == 5);
      CHECK(buffer == "ERROR");
      if (n > 0) CHECK(end.peer_receives() == message.substr(0, n));
    }
  }
}

TEST_CASE("after a reset at byte N neither direction works, and the peer sees the end") {
  for (const form f : both_forms) {
    for (std::size_t n = 0; n <= message.size(); ++n) {
      faulty end{{.reset_after_read = n}};
      std::error_code ec;
      end.peer_sends(message);
      CHECK(end.read_all(f, ec) == message.substr(0, n));
      CHECK(ec == asio::error::connection_reset);
      CHECK(end.write_all(f, message, ec) == 0);
      CHECK(ec == asio::error::connection_reset);
      CHECK(end.peer_reads_error() == asio::error::eof);
    }
    for (std::size_t n = 0; n < message.size(); ++n) {
      faulty end{{.reset_after_written = n}};
      std::error_code ec;
      end.peer_sends(message);
      CHECK(end.write_all(f, message, ec) == n);
      CHECK(ec == asio::error::connection_reset);
      CHECK(end.read_all(f, ec).empty());
      CHECK(ec == asio::error::connection_reset);
      if (n > 0) CHECK(end.peer_receives() == message.substr(0, n));
      CHECK(end.peer_reads_error() == asio::error::eof);
    }
  }
}

TEST_CASE("a reset completes a pending transfer in the other direction") {
  faulty end{{.reset_after_written = 3}};
  std::array<char, 4> to{};
  std::error_code ec;
  expected_transfer read;
  end.start_read(read, asio::buffer(to));
  CHECK(end.write_all(form::blocking, "abc", ec) == 3);
  end.context.poll();
  CHECK_FALSE(read.called());
  CHECK(end.write_all(form::blocking, "d", ec) == 0);
  end.run();
  CHECK(read.result() == std::tuple{std::error_code{asio::error::connection_reset}, 0u});
}

TEST_CASE("of faults at the same byte a reset comes before an end, and an end before a stall") {
  faulty end{{.end_after_read = 1,
              .break_after_written = 1,
              .stall_after_read = 1,
              .stall_after_written = 1}};
  std::error_code ec;
  end.peer_sends(message);
  CHECK(end.read_all(form::blocking, ec).size() == 1);
  CHECK(ec == asio::error::eof);
  CHECK(end.write_all(form::blocking, message, ec) == 1);
  CHECK(ec == asio::error::broken_pipe);
  fault_plan plan = end.stream.plan();
  plan.reset_after_written = 1;
  end.stream.plan(plan);
  CHECK(end.read_all(form::blocking, ec).empty());
  CHECK(ec == asio::error::connection_reset);
}

TEST_CASE("a new plan counts from the stream's beginning") {
  faulty end;
  std::error_code ec;
  std::array<char, 4> to{};
  end.peer_sends(message);
  CHECK(end.stream.read_some(asio::buffer(to)) == 4);
  end.stream.plan({.end_after_read = 6});
  CHECK(end.read_all(form::blocking, ec) == message.substr(4, 2));
  CHECK(ec == asio::error::eof);
}

// ------------------------------------------------------------------------------------ flipped bits

TEST_CASE("exactly the planned bit is flipped") {
  for (const form f : both_forms) {
    for (std::size_t byte = 0; byte < message.size(); ++byte) {
      for (unsigned bit = 0; bit < 8; ++bit) {
        const auto damaged = with_bit_flipped(message, byte, bit);
        faulty end{{.flip_read = {{byte, bit}}, .flip_written = {{byte, bit}}}};
        std::error_code ec;
        CHECK(end.write_all(f, message, ec) == message.size());
        CHECK(end.peer_receives() == damaged);
        end.peer_sends(message);
        end.peer.close();
        CHECK(end.read_all(f, ec, byte % 5 + 1) == damaged);
        CHECK(end.stream.bytes_read() == message.size());
      }
    }
  }
}

TEST_CASE("a bit is flipped in the right one of several buffers, and the source stays unchanged") {
  for (std::size_t byte = 0; byte < 6; ++byte) {
    faulty end{{.flip_read = {{byte, 7}}, .flip_written = {{byte, 7}}}};
    const std::string first = "ab", second = "cdef";
    const std::array from{asio::buffer(first), asio::buffer(second)};
    const auto damaged = with_bit_flipped("abcdef", byte, 7);
    std::size_t sent = end.stream.write_some(from);
    while (sent < 6) {
      sent += end.stream.write_some(asio::buffer((first + second).substr(sent)));
    }
    CHECK(end.peer_receives() == damaged);
    CHECK(first + second == "abcdef");
    end.peer_sends("abcdef");
    std::string to_first(2, '\0'), to_second(4, '\0');
    const std::array to{asio::buffer(to_first), asio::buffer(to_second)};
    CHECK(end.stream.read_some(to) == 6);
    CHECK(to_first + to_second == damaged);
  }
}

TEST_CASE("memory behind the bytes that were read is not changed") {
  faulty end{{.flip_read = {{4, 0}}}};
  std::string to(8, 'x');
  end.peer_sends("abc");
  CHECK(end.stream.read_some(asio::buffer(to)) == 3);
  CHECK(to == "abcxxxxx");
}

// ------------------------------------------------------------------------------------------ stalls

TEST_CASE("a blocking transfer that would stall for ever fails with timed_out") {
  for (std::size_t n = 0; n < message.size(); ++n) {
    faulty end{{.stall_after_read = n, .stall_after_written = n}};
    std::error_code ec;
    end.peer_sends(message);
    CHECK(end.read_all(form::blocking, ec) == message.substr(0, n));
    CHECK(ec == asio::error::timed_out);
    CHECK(end.write_all(form::blocking, message, ec) == n);
    CHECK(ec == asio::error::timed_out);
  }
}

TEST_CASE(
    "a stalled transfer completes when it is cancelled or its stream is closed or destroyed") {
  std::optional<faulty> end{std::in_place,
                            fault_plan{.stall_after_read = 2, .stall_after_written = 2}};
  asio::cancellation_signal read_signal, write_signal;
  std::string to(9, '\0');
  std::error_code ec;
  end->peer_sends(message);
  CHECK(end->read(form::asynchronous, asio::buffer(to), ec) == 2);
  CHECK(end->write(form::asynchronous, asio::buffer(message), ec) == 2);
  expected_transfer read, write;
  read.cancelled_by(read_signal.slot());
  write.cancelled_by(write_signal.slot());
  end->start_read(read, asio::buffer(to));
  end->start_write(write, asio::buffer(message));
  end->context.restart();
  end->context.poll();
  CHECK_FALSE(read.called());
  CHECK_FALSE(write.called());
  SUBCASE("cancelled, each by itself") {
    read_signal.emit(cancel::total);
    end->context.poll();
    CHECK(read.called());
    CHECK_FALSE(write.called());
    write_signal.emit(cancel::terminal);
  }
  SUBCASE("closed") {
    end->stream.close();
    CHECK_FALSE(end->stream.is_open());
  }
  SUBCASE("destroyed") { const fault_stream destroyed{std::move(end->stream)}; }
  SUBCASE("assigned to") {
    auto others = filexfer::make_memory_pipe(end->context);
    end->stream = fault_stream<memory_pipe>{std::move(others.first)};
    CHECK(end->stream.write_some(asio::buffer("x", 1)) == 1);
  }
  end->run();
  CHECK(read.result() == std::tuple{std::error_code{asio::error::operation_aborted}, 0u});
  CHECK(write.result() == std::tuple{std::error_code{asio::error::operation_aborted}, 0u});
}

TEST_CASE("every kind of cancellation ends a stall") {
  for (const auto kind : {cancel::terminal, cancel::partial, cancel::total}) {
    faulty end{{.stall_after_read = 0}};
    asio::cancellation_signal signal;
    std::array<char, 4> to{};
    expected_transfer read;
    read.cancelled_by(signal.slot());
    end.start_read(read, asio::buffer(to));
    signal.emit(kind);
    end.run();
    CHECK(read.result() == std::tuple{std::error_code{asio::error::operation_aborted}, 0u});
  }
}

TEST_CASE("one direction continues while the other stalls") {
  faulty end{{.stall_after_read = 0}};
  std::array<char, 4> to{};
  std::error_code ec;
  asio::cancellation_signal signal;
  expected_transfer read, write;
  read.cancelled_by(signal.slot());
  end.peer_sends(message);
  end.start_read(read, asio::buffer(to));
  end.start_write(write, asio::buffer(message));
  end.context.poll();
  CHECK(std::get<1>(write.result()) == message.size());
  CHECK(end.peer_receives() == message);
  CHECK_FALSE(read.called());
  signal.emit(cancel::terminal);
  end.run();
}

TEST_CASE("a stalled transfer is destroyed with its context, though its handler owns the stream") {
  check_destroyed_with_its_context([](asio::io_context& context) {
    return fault_stream<memory_pipe>{filexfer::make_memory_pipe(context).first,
                                     fault_plan{.stall_after_read = 0}};
  });
}

}  // namespace fault_stream_faults_tests
