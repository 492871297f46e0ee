// The contract of asynchronous operations: completion, executors, allocators and cancellation.

#include "support/fault_stream_fixture.hpp"
#include "support/once_handler.hpp"

#include <filexfer/fault_stream.hpp>

#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/strand.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <array>
#include <system_error>
#include <tuple>
#include <utility>

namespace fault_stream_contract_tests {

using namespace fault_stream_tests;

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

TEST_CASE("a fault stream completes on the handler's executor and allocates from its allocator") {
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
  end.context.poll();  // the context has work until the handlers are called
  handlers.restart();
  handlers.poll();
  CHECK(std::get<0>(failed.result()) == asio::error::eof);
  CHECK(std::get<0>(stalled.result()) == asio::error::operation_aborted);
  CHECK(passed.allocations() > 0);
  CHECK(stalled.allocations() > 0);
}

TEST_CASE("a fault stream can be moved while an operation is pending") {
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

TEST_CASE("a fault stream works with use_future") {
  faulty end{{.end_after_read = 0}};
  std::array<char, 4> to{};
  auto write = end.stream.async_write_some(asio::buffer(message), asio::use_future);
  auto read = end.stream.async_read_some(asio::buffer(to), asio::use_future);
  end.run();
  CHECK(write.get() == message.size());
  CHECK_THROWS_AS(read.get(), std::system_error);
}

}  // namespace fault_stream_contract_tests
