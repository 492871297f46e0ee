#include "support/once_handler.hpp"

#include <filexfer/memory_pipe.hpp>

#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/read.hpp>
#include <asio/strand.hpp>
#include <asio/system_executor.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace memory_pipe_tests {

namespace {

using filexfer::make_memory_pipe;
using filexfer::memory_pipe;
using test::expected_transfer;
using cancel = asio::cancellation_type;

// Bytes that repeat with no power of two, so that a ring that turns wrongly shows.
std::string pattern(std::size_t bytes) {
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

void start_read(expected_transfer& call, memory_pipe& pipe, asio::mutable_buffer to) {
  call.start([&](auto handler) { pipe.async_read_some(to, std::move(handler)); });
}

void start_write(expected_transfer& call, memory_pipe& pipe, asio::const_buffer from) {
  call.start([&](auto handler) { pipe.async_write_some(from, std::move(handler)); });
}

void check_result(expected_transfer& call, std::error_code ec, std::size_t bytes) {
  CHECK(call.result() == std::tuple{ec, bytes});
}

std::string read_until_eof(memory_pipe& pipe, std::size_t chunk) {
  std::string all;
  std::string buffer(chunk, '\0');
  std::error_code ec;
  while (!ec) all.append(buffer, 0, pipe.read_some(asio::buffer(buffer), ec));
  CHECK(ec == asio::error::eof);
  return all;
}

}  // namespace

// ----------------------------------------------------------------------------------------- bytes

TEST_CASE("what is written to one end of a memory pipe is read from the other, both ways") {
  two_ends pipe;
  std::string got(16, '\0');
  CHECK(pipe.a.write_some(asio::buffer(std::string_view{"to b"})) == 4);
  CHECK(pipe.b.write_some(asio::buffer(std::string_view{"and to a"})) == 8);
  CHECK(pipe.b.read_some(asio::buffer(got)) == 4);
  CHECK(got.substr(0, 4) == "to b");
  CHECK(pipe.a.read_some(asio::buffer(got)) == 8);
  CHECK(got.substr(0, 8) == "and to a");
}

TEST_CASE("a memory pipe takes no more bytes than its capacity") {
  for (const std::size_t capacity : {1u, 2u, 7u, 4096u}) {
    two_ends pipe{capacity};
    const auto sent = pattern(capacity + 1);
    CHECK(pipe.a.write_some(asio::buffer(sent)) == capacity);
    expected_transfer write;
    start_write(write, pipe.a, asio::buffer(sent));
    pipe.context.poll();
    CHECK_FALSE(write.called());
    std::string got(capacity, '\0');
    CHECK(pipe.b.read_some(asio::buffer(got)) == capacity);
    CHECK(got == sent.substr(0, capacity));
    pipe.run();
    check_result(write, {}, capacity);
  }
}

TEST_CASE("a capacity of 0 is taken as 1") {
  two_ends pipe{0};
  CHECK(pipe.a.write_some(asio::buffer(std::string_view{"xy"})) == 1);
}

TEST_CASE("bytes keep their order at every capacity and at every size of a read and a write") {
  for (std::size_t capacity = 1; capacity <= 9; ++capacity) {
    for (std::size_t write = 1; write <= capacity; ++write) {
      for (std::size_t read = 1; read <= capacity + 1; ++read) {
        two_ends pipe{capacity};
        const auto sent = pattern(300);
        std::string got;
        std::string buffer(read, '\0');
        for (std::size_t at = 0; got.size() < sent.size();) {
          if (at < sent.size()) {
            const auto from = std::string_view{sent}.substr(at, write);
            at += pipe.a.write_some(asio::buffer(from));
          }
          got.append(buffer, 0, pipe.b.read_some(asio::buffer(buffer)));
          if (at - got.size() == capacity) {
            got.append(buffer, 0, pipe.b.read_some(asio::buffer(buffer)));
          }
        }
        REQUIRE(got == sent);
      }
    }
  }
}

TEST_CASE("a memory pipe gathers from several buffers and scatters into several") {
  two_ends pipe;
  const std::string first = "ab", second, third = "cdef";
  const std::array from{asio::buffer(first), asio::buffer(second), asio::buffer(third)};
  CHECK(pipe.a.write_some(from) == 6);
  std::array<char, 1> head{};
  std::array<char, 9> tail{};
  const std::array to{asio::buffer(head), asio::buffer(tail)};
  CHECK(pipe.b.read_some(to) == 6);
  CHECK(head[0] == 'a');
  CHECK(std::string(tail.data(), 5) == "bcdef");
}

TEST_CASE("whole messages pass a memory pipe of any capacity with both ends asynchronous") {
  for (const std::size_t capacity : {1u, 3u, 4096u}) {
    two_ends pipe{capacity};
    const auto sent = pattern(10'000);
    std::string got(sent.size(), '\0');
    expected_transfer write, read;
    write.start(
        [&](auto handler) { asio::async_write(pipe.a, asio::buffer(sent), std::move(handler)); });
    read.start(
        [&](auto handler) { asio::async_read(pipe.b, asio::buffer(got), std::move(handler)); });
    pipe.run();
    check_result(write, {}, sent.size());
    check_result(read, {}, sent.size());
    CHECK(got == sent);
  }
}

TEST_CASE("a blocking end and an asynchronous end work together across threads") {
  for (const std::size_t capacity : {1u, 4096u}) {
    two_ends pipe{capacity};
    const auto sent = pattern(capacity == 1 ? 2'000 : 1'000'000);
    std::string there(sent.size(), '\0'), back(sent.size(), '\0');
    std::thread blocking{[&] {
      asio::read(pipe.b, asio::buffer(there));
      asio::write(pipe.b, asio::buffer(there));
    }};
    expected_transfer write, read;
    write.start(
        [&](auto handler) { asio::async_write(pipe.a, asio::buffer(sent), std::move(handler)); });
    read.start(
        [&](auto handler) { asio::async_read(pipe.a, asio::buffer(back), std::move(handler)); });
    pipe.run();
    blocking.join();
    check_result(write, {}, sent.size());
    check_result(read, {}, sent.size());
    CHECK(there == sent);
    CHECK(back == sent);
  }
}

TEST_CASE("two blocking ends need no execution context") {
  auto [a, b] = make_memory_pipe(asio::system_executor{}, 3);
  const auto sent = pattern(5'000);
  std::thread writer{[&end = a, &sent] {
    asio::write(end, asio::buffer(sent));
    end.close();
  }};
  const auto got = read_until_eof(b, 7);
  writer.join();
  CHECK(got == sent);
}

TEST_CASE("two ends on two contexts and threads carry bytes both ways at once") {
  asio::io_context first, second;
  auto ends = make_memory_pipe(first.get_executor(), second.get_executor(), 64);
  const auto sent = pattern(100'000);
  std::string got_a(sent.size(), '\0'), got_b(sent.size(), '\0');
  expected_transfer write_a, read_a, write_b, read_b;
  const auto start = [&sent](memory_pipe& end, std::string& to, auto& write, auto& read) {
    write.start([&](auto h) { asio::async_write(end, asio::buffer(sent), std::move(h)); });
    read.start([&](auto h) { asio::async_read(end, asio::buffer(to), std::move(h)); });
  };
  start(ends.first, got_a, write_a, read_a);
  start(ends.second, got_b, write_b, read_b);
  std::thread other{[&] { second.run(); }};
  first.run();
  other.join();
  for (auto* call : {&write_a, &read_a, &write_b, &read_b}) check_result(*call, {}, sent.size());
  CHECK(got_a == sent);
  CHECK(got_b == sent);
}

TEST_CASE("a transfer without room or bytes completes at once with 0 though the pipe would block") {
  two_ends pipe{1};
  pipe.a.write_some(asio::buffer(std::string_view{"x"}));
  CHECK(pipe.a.write_some(asio::const_buffer{}) == 0);
  CHECK(pipe.a.read_some(asio::mutable_buffer{}) == 0);
  expected_transfer write, read;
  start_write(write, pipe.a, {});
  start_read(read, pipe.a, {});
  pipe.run();
  check_result(write, {}, 0);
  check_result(read, {}, 0);
}

// ------------------------------------------------------------------------------------ the contract

TEST_CASE("a transfer that can be done at once is not completed inside the initiating function") {
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

TEST_CASE("a memory pipe takes its memory from the handler's allocator, and returns it first") {
  two_ends pipe;
  std::array<char, 4> to{};
  expected_transfer waiting, at_once;
  start_read(waiting, pipe.b, asio::buffer(to));
  start_write(at_once, pipe.a, asio::buffer("x", 1));
  pipe.run();
  check_result(waiting, {}, 1);  // which checks that nothing is outstanding
  check_result(at_once, {}, 1);
  CHECK(waiting.allocations() > 0);
}

TEST_CASE("a memory pipe completes on the handler's executor, and keeps its context running") {
  asio::io_context handlers;
  asio::thread_pool streams{1};
  auto ends = make_memory_pipe(streams.get_executor(), streams.get_executor(), 16);
  std::array<char, 4> to{};
  expected_transfer waiting, at_once;
  waiting.start_on(asio::make_strand(handlers), [&](auto handler) {
    ends.first.async_read_some(asio::buffer(to), std::move(handler));
  });
  at_once.start_on(handlers.get_executor(), [&](auto handler) {
    ends.first.async_write_some(asio::buffer("x", 1), std::move(handler));
  });
  handlers.run_one();
  check_result(at_once, {}, 1);
  handlers.poll();
  CHECK_FALSE(waiting.called());
  std::thread peer{[&] { ends.second.write_some(asio::buffer("ab", 2)); }};
  handlers.run();  // returns early unless the pending read counts as work
  peer.join();
  check_result(waiting, {}, 2);
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

TEST_CASE("a memory pipe serves futures") {
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

TEST_CASE("a pending transfer is dropped with its context, though its handler owns the end") {
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

TEST_CASE("cancelling a transfer that is done already changes nothing") {
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

// ------------------------------------------------------------------------------------- the pipe's end

TEST_CASE("after an end is closed the other reads what was sent, then eof, and can't write") {
  two_ends pipe;
  std::error_code ec;
  pipe.a.write_some(asio::buffer("last", 4));
  SUBCASE("by close") { pipe.a.close(); }
  SUBCASE("by close with a code") {
    ec = asio::error::eof;
    pipe.a.close(ec);
    CHECK_FALSE(ec);
  }
  SUBCASE("by its destructor") { const memory_pipe gone{std::move(pipe.a)}; }
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

TEST_CASE("closing an end completes what the other has pending") {
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

TEST_CASE("closing an end aborts what it has pending itself") {
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
  SUBCASE("by its destructor") { const memory_pipe gone{std::move(pipe.a)}; }
  SUBCASE("though the bytes that it waited for have come") {
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
  // Whether the call had begun when the end was closed is up to the scheduler; both are met.
  bool aborted = false;
  for (int tries = 0; tries < 10'000 && !aborted; ++tries) {
    two_ends pipe{1};
    pipe.a.write_some(asio::buffer("x", 1));
    std::error_code read_ec, write_ec;
    std::array<char, 1> to{};
    std::atomic<int> begun = 0;
    std::thread reader{[&] {
      ++begun;
      pipe.a.read_some(asio::buffer(to), read_ec);
    }};
    std::thread writer{[&] {
      ++begun;
      pipe.a.write_some(asio::buffer("y", 1), write_ec);
    }};
    while (begun < 2) std::this_thread::yield();
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

TEST_CASE("a context may go once the ends on it are closed, though the other ends live on") {
  asio::io_context lasting;
  auto passing = std::make_unique<asio::io_context>();
  auto ends = make_memory_pipe(passing->get_executor(), lasting.get_executor(), 1);
  std::array<char, 4> to{};
  ends.first.write_some(asio::buffer("x", 1));
  expected_transfer read, write;
  start_read(read, ends.first, asio::buffer(to));
  start_write(write, ends.first, asio::buffer("y", 1));
  ends.first.close();
  passing->run();
  passing.reset();
  check_result(read, asio::error::operation_aborted, 0);
  check_result(write, asio::error::operation_aborted, 0);
  CHECK(ends.second.read_some(asio::buffer(to)) == 1);  // which would wake the writer
  ends.second.close();
}

TEST_CASE("a closed or moved-from end fails every transfer with bad_descriptor") {
  two_ends pipe;
  memory_pipe moved_to{std::move(pipe.b)};
  pipe.a.close();
  std::array<char, 4> to{};
  for (memory_pipe* end : {&pipe.a, &pipe.b}) {
    std::error_code ec;
    CHECK_FALSE(end->is_open());
    CHECK(end->read_some(asio::buffer(to), ec) == 0);
    CHECK(ec == asio::error::bad_descriptor);
    CHECK(end->write_some(asio::buffer("x", 1), ec) == 0);
    CHECK(ec == asio::error::bad_descriptor);
    end->shutdown(asio::socket_base::shutdown_send, ec);
    CHECK(ec == asio::error::not_connected);
    CHECK_THROWS_AS(end->read_some(asio::buffer(to)), std::system_error);
    CHECK_THROWS_AS(end->shutdown(asio::socket_base::shutdown_send), std::system_error);
    expected_transfer read, write;
    start_read(read, *end, asio::buffer(to));
    start_write(write, *end, asio::buffer("x", 1));
    pipe.run();
    check_result(read, asio::error::bad_descriptor, 0);
    check_result(write, asio::error::bad_descriptor, 0);
  }
}

TEST_CASE("a pending transfer goes on when its end is moved") {
  two_ends pipe;
  std::array<char, 4> to{};
  expected_transfer read;
  start_read(read, pipe.a, asio::buffer(to));
  const memory_pipe moved_to{std::move(pipe.a)};
  pipe.b.write_some(asio::buffer("abc", 3));
  pipe.run();
  check_result(read, {}, 3);
}

TEST_CASE("after shutdown_send the other end reads eof and can still be answered by it") {
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

TEST_CASE("after shutdown_receive an end reads eof, its peer can't write, and it can") {
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

TEST_CASE("a code of success is set where a transfer succeeds") {
  two_ends pipe;
  std::array<char, 4> to{};
  std::error_code ec = asio::error::eof;
  pipe.a.write_some(asio::buffer("x", 1), ec);
  CHECK_FALSE(ec);
  ec = asio::error::eof;
  pipe.b.read_some(asio::buffer(to), ec);
  CHECK_FALSE(ec);
}

}  // namespace memory_pipe_tests
