// The contract of streams, which each of them fulfils: completion, executors, allocators,
// cancellation, and transfers after the end.

#include "support/memory_pipe_fixture.hpp"
#include "support/once_handler.hpp"
#include "support/pipe_stream_fixture.hpp"
#include "support/transfers.hpp"

#include <filexfer/fault_stream.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/pipe_stream.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/socket_base.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>

namespace stream_contract_tests {

using namespace test;
using cancel = asio::cancellation_type;

namespace {

// ------------------------------------------------------------------------------------- the streams

struct over_memory {
  using stream = filexfer::memory_pipe;
  static std::pair<stream, stream> connect(const asio::any_io_executor& executor) {
    return filexfer::make_memory_pipe(executor, 16);
  }
};

template <int Flags>
struct over_pipes {
  using stream = filexfer::pipe_stream;
  static std::pair<stream, stream> connect(const asio::any_io_executor& executor) {
    const auto forth = pipe_stream_tests::make_pipe(Flags);
    const auto back = pipe_stream_tests::make_pipe(Flags);
    return {stream{executor, back.read, forth.write}, stream{executor, forth.read, back.write}};
  }
};

using over_blocking_pipes = over_pipes<0>;
using over_nonblocking_pipes = over_pipes<O_NONBLOCK>;

/// In fault_streams without faults.
struct over_fault_streams {
  using stream = filexfer::fault_stream<filexfer::memory_pipe>;
  static std::pair<stream, stream> connect(const asio::any_io_executor& executor) {
    auto ends = over_memory::connect(executor);
    return {stream{std::move(ends.first)}, stream{std::move(ends.second)}};
  }
};

template <class Over>
struct two_ends {
  using stream = typename Over::stream;

  // A transfer that is never completed fails its test, and does not hang.
  void run() {
    context.restart();
    context.run_for(std::chrono::seconds{10});
  }
  void poll() {
    context.restart();
    context.poll();
  }

  asio::io_context context;
  std::pair<stream, stream> ends{Over::connect(context.get_executor())};
  stream& a = ends.first;
  stream& b = ends.second;
};

}  // namespace

#define ALL_STREAMS over_memory, over_blocking_pipes, over_nonblocking_pipes, over_fault_streams

// -------------------------------------------------------------------------------------- completion

TEST_CASE_TEMPLATE("a transfer that is ready is not completed inside the initiating function", Over,
                   ALL_STREAMS) {
  two_ends<Over> pipe;
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

TEST_CASE_TEMPLATE("a pending transfer is not completed inside the peer's call", Over,
                   ALL_STREAMS) {
  two_ends<Over> pipe;
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

TEST_CASE_TEMPLATE(
    "a stream allocates from the handler's allocator, and deallocates before completing", Over,
    ALL_STREAMS) {
  two_ends<Over> pipe;
  std::array<char, 4> to{};
  expected_transfer pending, immediate;
  start_read(pending, pipe.b, asio::buffer(to));
  start_write(immediate, pipe.a, asio::buffer("x", 1));
  pipe.run();
  check_result(pending, {}, 1);  // also checks that no memory is outstanding
  check_result(immediate, {}, 1);
  CHECK(pending.allocations() > 0);
}

TEST_CASE_TEMPLATE("a stream completes on the handler's executor, and keeps its context running",
                   Over, ALL_STREAMS) {
  asio::io_context handlers;
  asio::thread_pool streams{1};
  auto ends = Over::connect(streams.get_executor());
  std::array<char, 4> to{};
  expected_transfer pending, immediate;
  pending.start_on(asio::make_strand(handlers), [&](auto handler) {
    ends.first.async_read_some(asio::buffer(to), std::move(handler));
  });
  immediate.start_on(handlers.get_executor(), [&](auto handler) {
    ends.first.async_write_some(asio::buffer("x", 1), std::move(handler));
  });
  handlers.run_one();
  check_result(immediate, {}, 1);
  handlers.poll();
  CHECK_FALSE(pending.called());
  std::thread peer{[&] { ends.second.write_some(asio::buffer("ab", 2)); }};
  handlers.run();  // returns early unless the pending read counts as work
  peer.join();
  check_result(pending, {}, 2);
  CHECK(pending.allocations() > 0);
}

TEST_CASE_TEMPLATE("a pending transfer keeps the stream's own context running", Over, ALL_STREAMS) {
  two_ends<Over> pipe;
  std::array<char, 4> to{};
  expected_transfer read;
  start_read(read, pipe.a, asio::buffer(to));
  std::thread peer{[&] { pipe.b.write_some(asio::buffer("ab", 2)); }};
  pipe.run();
  peer.join();
  check_result(read, {}, 2);
}

// All in one thread: libstdc++ counts an exception's owners where ThreadSanitizer can't see it.
TEST_CASE_TEMPLATE("a stream works with use_future", Over, ALL_STREAMS) {
  two_ends<Over> pipe;
  std::array<char, 4> to{};
  auto read = pipe.a.async_read_some(asio::buffer(to), asio::use_future);
  auto write = pipe.b.async_write_some(asio::buffer("abc", 3), asio::use_future);
  pipe.run();
  CHECK(write.get() == 3);
  CHECK(read.get() == 3);
  pipe.b.close();
  auto end = pipe.a.async_read_some(asio::buffer(to), asio::use_future);
  pipe.run();
  CHECK_THROWS_AS(end.get(), std::system_error);
}

TEST_CASE_TEMPLATE("one read and one write may be pending at one end", Over, ALL_STREAMS) {
  two_ends<Over> pipe;
  const auto filled = fill(pipe.context, pipe.a);
  std::array<char, 4> to{};
  expected_transfer read, write;
  start_read(read, pipe.a, asio::buffer(to));
  start_write(write, pipe.a, asio::buffer("y", 1));
  pipe.poll();
  CHECK_FALSE(read.called());
  CHECK_FALSE(write.called());
  std::string drained(filled.size(), '\0');
  drained.resize(pipe.b.read_some(asio::buffer(drained)));
  CHECK(drained.size() > 0);
  CHECK(filled.starts_with(drained));
  pipe.poll();
  check_result(write, {}, 1);
  CHECK_FALSE(read.called());
  pipe.b.write_some(asio::buffer("z", 1));
  pipe.run();
  check_result(read, {}, 1);
}

TEST_CASE_TEMPLATE("a pending transfer is destroyed with its context, though its handler owns it",
                   Over, ALL_STREAMS) {
  check_destroyed_with_its_context(
      [](asio::io_context& context) { return Over::connect(context.get_executor()).first; });
}

// ------------------------------------------------------------------------------------ cancellation

TEST_CASE_TEMPLATE("a cancelled read completes with operation_aborted and reads nothing", Over,
                   ALL_STREAMS) {
  for (const auto kind : {cancel::terminal, cancel::partial, cancel::total}) {
    for (const std::string_view sent_before : {"", "abc"}) {
      CAPTURE(sent_before);
      two_ends<Over> pipe;
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

TEST_CASE_TEMPLATE("a cancelled write completes with operation_aborted and writes nothing", Over,
                   ALL_STREAMS) {
  for (const auto kind : {cancel::terminal, cancel::partial, cancel::total}) {
    for (const bool is_waiting : {false, true}) {
      CAPTURE(is_waiting);
      two_ends<Over> pipe;
      const auto filled = fill(pipe.context, pipe.a);
      asio::cancellation_signal signal;
      expected_transfer write;
      write.cancelled_by(signal.slot());
      start_write(write, pipe.a, asio::buffer("cd", 2));
      if (is_waiting) pipe.poll();
      CHECK_FALSE(write.called());
      signal.emit(kind);
      pipe.run();
      check_result(write, asio::error::operation_aborted, 0);
      pipe.a.close();
      CHECK((read_until_eof(pipe.b, 1000) == filled));
    }
  }
}

TEST_CASE_TEMPLATE("a read and a write are cancelled independently of each other", Over,
                   ALL_STREAMS) {
  two_ends<Over> pipe;
  const auto filled = fill(pipe.context, pipe.a);
  std::array<char, 4> to{};
  asio::cancellation_signal signal;
  expected_transfer read, write;
  read.cancelled_by(signal.slot());
  start_read(read, pipe.a, asio::buffer(to));
  start_write(write, pipe.a, asio::buffer("x", 1));
  signal.emit(cancel::terminal);
  pipe.poll();
  check_result(read, asio::error::operation_aborted, 0);
  CHECK_FALSE(write.called());
  std::string drained(filled.size(), '\0');
  pipe.b.read_some(asio::buffer(drained));
  pipe.run();
  check_result(write, {}, 1);
}

TEST_CASE_TEMPLATE("cancelling a transfer that is already complete changes nothing", Over,
                   over_memory, over_fault_streams) {
  two_ends<Over> pipe;
  asio::cancellation_signal signal;
  expected_transfer write;
  write.cancelled_by(signal.slot());
  start_write(write, pipe.a, asio::buffer("ab", 2));
  signal.emit(cancel::terminal);
  pipe.run();
  signal.emit(cancel::terminal);
  check_result(write, {}, 2);
}

// ----------------------------------------------------------------------------------- after the end

TEST_CASE_TEMPLATE("a closed or moved-from stream fails every transfer with bad_descriptor", Over,
                   over_memory, over_blocking_pipes, over_nonblocking_pipes) {
  using stream = typename Over::stream;
  two_ends<Over> pipe;
  const stream moved_to{std::move(pipe.b)};
  pipe.a.close();
  std::array<char, 4> to{};
  for (stream* end : {&pipe.a, &pipe.b}) {
    std::error_code ec;
    CHECK_FALSE(end->is_open());
    CHECK(end->read_some(asio::buffer(to), ec) == 0);
    CHECK(ec == asio::error::bad_descriptor);
    CHECK(end->write_some(asio::buffer("x", 1), ec) == 0);
    CHECK(ec == asio::error::bad_descriptor);
    for (const auto what : {asio::socket_base::shutdown_send, asio::socket_base::shutdown_both}) {
      ec.clear();
      end->shutdown(what, ec);
      CHECK(ec == asio::error::not_connected);
      CHECK_THROWS_AS(end->shutdown(what), std::system_error);
    }
    CHECK_THROWS_AS(end->read_some(asio::buffer(to)), std::system_error);
    CHECK_THROWS_AS(end->write_some(asio::buffer("x", 1)), std::system_error);
    expected_transfer read, write;
    start_read(read, *end, asio::buffer(to));
    start_write(write, *end, asio::buffer("x", 1));
    pipe.run();
    check_result(read, asio::error::bad_descriptor, 0);
    check_result(write, asio::error::bad_descriptor, 0);
  }
}

}  // namespace stream_contract_tests
