#include "support/once_handler.hpp"

#include <filexfer/fault_stream.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/stream.hpp>

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/strand.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

namespace fault_stream_tests {

namespace {

using filexfer::fault_plan;
using filexfer::fault_stream;
using filexfer::memory_pipe;
using test::expected_transfer;
using cancel = asio::cancellation_type;
using position = std::optional<std::uint64_t>;

constexpr std::string_view message = "the quick brown fox";

enum class form { blocking, asynchronous };

// A faulty end and its honest peer. The peer is used blocking: the pipe takes whole messages.
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

  // Reads until something fails; the peer has sent all that it will.
  std::string read_all(form f, std::error_code& ec, std::size_t room = 7) {
    std::string all;
    std::string buffer(room, '\0');
    for (ec.clear(); !ec;) all.append(buffer, 0, read(f, asio::buffer(buffer), ec));
    return all;
  }

  // Writes `text` until something fails; returns how much of it was written.
  std::size_t write_all(form f, std::string_view text, std::error_code& ec) {
    std::size_t at = 0;
    for (ec.clear(); !ec && at < text.size();) {
      at += write(f, asio::buffer(text.substr(at)), ec);
    }
    return at;
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

std::string with_bit_flipped(std::string_view text, std::size_t byte, unsigned bit) {
  std::string result{text};
  result[byte] = static_cast<char>(static_cast<unsigned char>(result[byte]) ^ (1u << bit));
  return result;
}

// A stream of a user's that only blocks, and can't be closed.
struct echo_of_a_letter {
  std::size_t read_some(const auto& to, std::error_code& ec) {
    ec.clear();
    return asio::buffer_copy(to, asio::buffer("a", 1));
  }
  std::size_t write_some(const auto& from, std::error_code& ec) {
    ec.clear();
    return asio::buffer_size(from);
  }
};

using faulty_echo = fault_stream<echo_of_a_letter>;
static_assert(filexfer::sync_stream<faulty_echo>);
static_assert(!filexfer::closable_stream<faulty_echo>);
static_assert(!filexfer::half_closable_stream<faulty_echo>);
static_assert(std::is_void_v<faulty_echo::executor_type>);

using faulty_pipe = fault_stream<memory_pipe>;
static_assert(filexfer::sync_stream<faulty_pipe> && filexfer::async_stream<faulty_pipe>);
static_assert(filexfer::closable_stream<faulty_pipe> &&
              filexfer::half_closable_stream<faulty_pipe>);
static_assert(filexfer::async_stream<fault_stream<memory_pipe&>>);
static_assert(filexfer::async_stream<fault_stream<fault_stream<memory_pipe>>>);
static_assert(!std::is_move_assignable_v<fault_stream<memory_pipe&>>);

}  // namespace

#define FOR_BOTH_FORMS(f) for (const form f : {form::blocking, form::asynchronous})

// ----------------------------------------------------------------------------------- what it passes

TEST_CASE("a fault stream without a plan changes nothing, and counts") {
  FOR_BOTH_FORMS(f) {
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

TEST_CASE("no read and no write moves more bytes than its greatest number") {
  FOR_BOTH_FORMS(f) {
    for (std::size_t most = 0; most <= message.size() + 1; ++most) {
      const std::size_t expected = std::min(std::max<std::size_t>(most, 1), message.size());
      faulty end{{.max_read = most, .max_write = most}};
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

TEST_CASE("of several limits the nearest one holds") {
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

TEST_CASE("a limit holds over several buffers, also when some are empty") {
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

TEST_CASE("very many buffers are moved in part") {
  faulty end;
  std::array<asio::const_buffer, 40> from;
  from.fill(asio::buffer("ab", 2));
  const std::size_t bytes = end.stream.write_some(from);
  CHECK(bytes > 0);
  CHECK(end.peer_receives().size() == bytes);
  from.fill(asio::const_buffer{});
  from.back() = asio::buffer("ab", 2);  // an empty transfer would look like one that is done
  CHECK(end.stream.write_some(from) == 2);
}

TEST_CASE("a transfer without room or bytes completes with 0, whatever fault stands there") {
  FOR_BOTH_FORMS(f) {
    faulty end{{.reset_after_read = 0, .stall_after_written = 0}};
    std::error_code ec = asio::error::eof;
    CHECK(end.read(f, {}, ec) == 0);
    CHECK_FALSE(ec);
    CHECK(end.write(f, {}, ec) == 0);
    CHECK_FALSE(ec);
  }
}

TEST_CASE("a fault stream works around a stream that only blocks") {
  faulty_echo stream{{}, {.end_after_read = 2}};
  std::array<char, 9> to{};
  std::error_code ec;
  CHECK(stream.read_some(asio::buffer(to)) == 1);
  CHECK(stream.read_some(asio::buffer(to)) == 1);
  CHECK(stream.read_some(asio::buffer(to), ec) == 0);
  CHECK(ec == asio::error::eof);
  CHECK(stream.write_some(asio::buffer("abc", 3)) == 3);
  CHECK_THROWS_AS(stream.read_some(asio::buffer(to)), std::system_error);
}

TEST_CASE("a fault stream that refers to a stream leaves it to its owner") {
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

// ------------------------------------------------------------------------------------- what it cuts

TEST_CASE("a stream that ends after N bytes read gives exactly those, and can still be written") {
  FOR_BOTH_FORMS(f) {
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

TEST_CASE("a stream that breaks after N bytes written took exactly those, and can still be read") {
  FOR_BOTH_FORMS(f) {
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
  FOR_BOTH_FORMS(f) {
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

TEST_CASE("a reset ends what is pending in the other direction") {
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

TEST_CASE("where faults stand together a reset comes before an end, and an end before a stall") {
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

TEST_CASE("a plan that is changed counts from the stream's beginning") {
  faulty end;
  std::error_code ec;
  std::array<char, 4> to{};
  end.peer_sends(message);
  CHECK(end.stream.read_some(asio::buffer(to)) == 4);
  end.stream.plan({.end_after_read = 6});
  CHECK(end.read_all(form::blocking, ec) == message.substr(4, 2));
  CHECK(ec == asio::error::eof);
}

// ----------------------------------------------------------------------------------- what it damages

TEST_CASE("exactly the bit that is to be flipped arrives flipped") {
  FOR_BOTH_FORMS(f) {
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

TEST_CASE(
    "a flipped bit is found in the right one of several buffers, and the source stays whole") {
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

TEST_CASE("memory behind the bytes that were read is not touched") {
  faulty end{{.flip_read = {{4, 0}}}};
  std::string to(8, 'x');
  end.peer_sends("abc");
  CHECK(end.stream.read_some(asio::buffer(to)) == 3);
  CHECK(to == "abcxxxxx");
}

// ------------------------------------------------------------------------------------ where it stalls

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

TEST_CASE("a stalled transfer completes when it is cancelled, closed or its stream is destroyed") {
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
  SUBCASE("destroyed") { const fault_stream gone{std::move(end->stream)}; }
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

TEST_CASE("one direction goes on while the other stalls") {
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

TEST_CASE("a stalled transfer is dropped with its context, though its handler owns the stream") {
  expected_transfer read;
  read.may_be_dropped();
  {
    asio::io_context context;
    auto ends = filexfer::make_memory_pipe(context);
    auto owned = std::make_shared<fault_stream<memory_pipe>>(std::move(ends.first),
                                                             fault_plan{.stall_after_read = 0});
    auto to = std::make_shared<std::array<char, 4>>();
    read.start([&](auto handler) {
      owned->async_read_some(asio::buffer(*to),
                             [owned, to, h = std::move(handler)](
                                 std::error_code ec, std::size_t n) mutable { h(ec, n); });
    });
  }
  CHECK(read.dropped());
}

// ------------------------------------------------------------------------------------- the contract

TEST_CASE("a planned failure is not completed inside the initiating function") {
  faulty end{{.end_after_read = 0, .break_after_written = 0}};
  std::array<char, 4> to{};
  expected_transfer read, write;
  asio::post(end.context, [&] {  // where an executor could run the handler at once
    end.start_read(read, asio::buffer(to));
    end.start_write(write, asio::buffer(message));
    CHECK_FALSE(read.called());
    CHECK_FALSE(write.called());
  });
  end.run();
  CHECK(read.result() == std::tuple{std::error_code{asio::error::eof}, 0u});
  CHECK(write.result() == std::tuple{std::error_code{asio::error::broken_pipe}, 0u});
}

TEST_CASE("cancelling a transfer of the next layer reads nothing") {
  faulty end;
  std::array<char, 4> to{};
  asio::cancellation_signal signal;
  expected_transfer read;
  read.cancelled_by(signal.slot());
  end.start_read(read, asio::buffer(to));
  end.peer_sends("abc");
  signal.emit(cancel::partial);
  end.run();
  CHECK(read.result() == std::tuple{std::error_code{asio::error::operation_aborted}, 0u});
  CHECK(end.stream.bytes_read() == 0);
  CHECK(end.stream.read_some(asio::buffer(to)) == 3);
}

TEST_CASE("a fault stream completes on the handler's executor and takes its allocator's memory") {
  faulty end{{.end_after_read = 3, .stall_after_written = 0}};
  asio::io_context handlers;
  asio::cancellation_signal signal;
  std::array<char, 4> to{};
  expected_transfer passed, stalled, failed;
  stalled.cancelled_by(signal.slot());
  const auto start_read_on = [&](expected_transfer& call) {
    call.start_on(asio::make_strand(handlers), [&](auto handler) {
      end.stream.async_read_some(asio::buffer(to), std::move(handler));
    });
  };
  start_read_on(passed);
  stalled.start_on(handlers.get_executor(), [&](auto handler) {
    end.stream.async_write_some(asio::buffer(message), std::move(handler));
  });
  end.peer_sends("abc");
  end.context.poll();  // the pipe's part
  CHECK_FALSE(passed.called());
  handlers.poll();
  CHECK(std::get<1>(passed.result()) == 3);
  start_read_on(failed);
  signal.emit(cancel::terminal);
  end.context.restart();
  end.context.poll();  // it has work until the handlers are called
  handlers.restart();
  handlers.poll();
  CHECK(std::get<0>(failed.result()) == asio::error::eof);
  CHECK(std::get<0>(stalled.result()) == asio::error::operation_aborted);
  CHECK(passed.allocations() > 0);
  CHECK(stalled.allocations() > 0);
}

TEST_CASE("a fault stream can be moved while an operation is under way") {
  faulty end{{.flip_read = {{0, 0}}}};
  std::array<char, 4> to{};
  expected_transfer read;
  end.start_read(read, asio::buffer(to));
  const fault_stream moved{std::move(end.stream)};
  end.peer_sends("a");
  end.run();
  CHECK(std::get<1>(read.result()) == 1);
  CHECK(to[0] == '`');
  CHECK(moved.bytes_read() == 1);
}

TEST_CASE("a fault stream serves futures") {
  faulty end{{.end_after_read = 0}};
  std::array<char, 4> to{};
  auto write = end.stream.async_write_some(asio::buffer(message), asio::use_future);
  auto read = end.stream.async_read_some(asio::buffer(to), asio::use_future);
  end.run();
  CHECK(write.get() == message.size());
  CHECK_THROWS_AS(read.get(), std::system_error);
}

// --------------------------------------------------------------------------------------- the layers

TEST_CASE("closing and shutting down reach the next layer") {
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
  FOR_BOTH_FORMS(f) {
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

#undef FOR_BOTH_FORMS

}  // namespace fault_stream_tests
