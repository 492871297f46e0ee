#include "support/async_run_fixture.hpp"
#include "support/script.hpp"

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace async_run_tests {

// ------------------------------------------------------------------------------------ the contract

TEST_CASE(
    "an operation whose flow ends immediately completes once, outside the initiating function") {
  asio::io_context context;
  auto ends = make_memory_pipe(context);
  const auto five = []() -> flow<int> { co_return 5; };
  expected_call<void(std::error_code, int)> call;
  call.start([&](auto handler) {
    async_run<manual_timer>(
        ends.first, {}, [&](std::error_code&) { return five(); }, std::move(handler));
  });
  CHECK_FALSE(call.called());
  context.run();
  CHECK(call.result() == std::tuple{std::error_code{}, 5});
}

TEST_CASE("an operation whose flow sets an error code completes with that code and its value") {
  asio::io_context context;
  auto ends = make_memory_pipe(context);
  const auto failing = [](std::error_code& ec) -> flow<int> {
    ec = errc::digest_mismatch;
    co_return 7;
  };
  expected_call<void(std::error_code, int)> call;
  call.start(
      [&](auto handler) { async_run<manual_timer>(ends.first, {}, failing, std::move(handler)); });
  context.run();
  CHECK(call.result() == std::tuple{make_error_code(errc::digest_mismatch), 7});
}

TEST_CASE("the flow and the handler run on the handler's executor") {
  operation_on_a_pipe op;
  asio::thread_pool pool{1};
  op.settings.work_executor = pool.get_executor();
  const auto strand = asio::make_strand(op.context);
  int outside = 0;
  const auto checking = [](auto& executor, int& out, action& reading,
                           action& working) -> flow<int> {
    for (action* a : {&reading, &working}) {
      if (!executor.running_in_this_thread()) ++out;
      co_await *a;
    }
    if (!executor.running_in_this_thread()) ++out;
    co_return 1;
  };
  std::array<std::byte, 4> into{};
  auto reading = read_into(into);
  work something{[](std::error_code&) {}};
  action working;
  working.run_and_wait(something);
  expected_call<void(std::error_code, int)> call;
  call.start_on(strand, [&](auto handler) {
    async_run<manual_timer>(
        op.ours, op.settings,
        [&](std::error_code&) { return checking(strand, outside, reading, working); },
        std::move(handler));
  });
  op.peer_write("1234");
  op.context.restart();
  op.context.run();
  call.result();
  CHECK(outside == 0);
}

TEST_CASE(
    "an operation allocates from its handler's allocator, and frees all before it calls the "
    "handler") {
  operation_on_a_pipe op;
  std::array<std::byte, 4> into{};
  auto reading = read_into(into);
  operation_on_a_pipe::expected_outcome call;
  op.start(call, reading);
  CHECK(call.allocations() > 0);
  op.peer_write("1234");
  CHECK(std::get<1>(call.result()).bytes == 4);
}

TEST_CASE("everything that a flow holds is freed before the handler is called") {
  asio::io_context context;
  auto ends = make_memory_pipe(context);
  const auto held = std::make_shared<int>(1);
  const auto holding = [](std::shared_ptr<int> copy) -> flow<int> {
    action nothing;
    co_await nothing;
    co_return *copy;
  };
  long alive = 0;
  async_run<manual_timer>(
      ends.first, {}, [&, also = held](std::error_code&) { return holding(also); },
      [&](std::error_code, int) { alive = held.use_count(); });
  context.run();
  CHECK(alive == 1);
}

TEST_CASE("a context runs until the work of its operation is done on another executor") {
  operation_on_a_pipe op;
  asio::thread_pool pool{1};
  op.settings.work_executor = pool.get_executor();
  blocking_work held;
  action working;
  working.run_and_wait(held.call);
  operation_on_a_pipe::expected_outcome call;
  op.start(call, working);
  run_until_idle(op.context);
  REQUIRE(held.wait_until_started());
  CHECK_FALSE(call.called());
  held.release();
  op.context.restart();
  op.context.run();
  CHECK_FALSE(std::get<0>(call.result()));
  CHECK_FALSE(held.call.error());
}

TEST_CASE("an operation that has completed leaves nothing pending in its context") {
  operation_on_a_pipe op;
  std::array<std::byte, 4> into{};
  auto reading = read_into(into);
  auto writing = write_of("written");
  writing.io = io_kind::read_write;
  std::array<std::byte, 4> unread{};
  writing.read_buffer = unread;
  operation_on_a_pipe::expected_outcomes call;
  op.start(call, {&reading, &writing});
  op.peer_write("1234");
  // Neither its timer nor its read is pending.
  CHECK(call.called());
  op.context.restart();
  CHECK(op.context.run() == 0);
  CHECK_FALSE(std::get<0>(call.result()));
}

TEST_CASE("destroying a context destroys its operations and all that they hold") {
  asio::cancellation_signal signal;
  operation_on_a_pipe::expected_outcome call;
  call.may_be_dropped().cancelled_by(signal.slot());
  std::array<std::byte, 4> into{};
  auto reading = read_into(into);
  {
    operation_on_a_pipe op;
    call.start([&](auto handler) {
      async_run<manual_timer>(
          op.ours, {}, [&](std::error_code&) { return await_one(reading); }, std::move(handler));
    });
    run_until_idle(op.context);
  }
  CHECK(call.dropped());
  signal.emit(cancel::terminal);  // the operation is gone
}

TEST_CASE("an operation that has completed has cleared its cancellation slot") {
  operation_on_a_pipe op;
  std::array<std::byte, 4> into{};
  auto reading = read_into(into);
  operation_on_a_pipe::expected_outcome call;
  op.start(call, reading);
  CHECK(op.signal.slot().has_handler());
  op.peer_write("1234");
  CHECK_FALSE(op.signal.slot().has_handler());
  op.signal.emit(cancel::terminal);
  run_until_idle(op.context);
  CHECK_FALSE(std::get<0>(call.result()));
}

// ------------------------------------------------------------------------------- completion tokens

namespace {

flow<std::string> greeting(action& reading, std::error_code& ec) {
  const outcome read = co_await reading;
  ec = read.error;
  co_return text_of(reading.read_buffer.first(static_cast<std::size_t>(read.bytes)));
}

struct greeting_on_a_pipe : operation_on_a_pipe {
  template <class Token>
  auto async_greeting(Token&& token) {
    return async_run<manual_timer>(
        ours, settings, [this](std::error_code& ec) { return greeting(reading, ec); },
        std::forward<Token>(token));
  }
  std::array<std::byte, 5> into{};
  action reading = read_into(into);
};

}  // namespace

TEST_CASE("an operation takes a callback, even a move-only one or an lvalue") {
  greeting_on_a_pipe op;
  std::string result;
  op.async_greeting([&](std::error_code, std::string text) { result = std::move(text); });
  op.peer_write("hello");
  CHECK(result == "hello");
  op.async_greeting([&, only = std::make_unique<int>(1)](std::error_code, std::string text) {
    result = std::move(text) + std::to_string(*only);
  });
  op.peer_write("again");
  CHECK(result == "again1");
  const auto kept = [&](std::error_code ec, const std::string&) { result = ec.message(); };
  op.async_greeting(kept);
  op.theirs.close();
  run_until_idle(op.context);
  CHECK(result == make_error_code(errc::end_of_stream).message());
}

TEST_CASE("an operation returns a future of its value or its error") {
  greeting_on_a_pipe op;
  auto future = op.async_greeting(asio::use_future);
  op.peer_write("hello");
  CHECK(future.get() == "hello");
  auto broken = op.async_greeting(asio::use_future);
  op.theirs.close();
  run_until_idle(op.context);
  try {
    broken.get();
    FAIL("no exception");
  } catch (const std::system_error& e) {
    CHECK(e.code() == errc::end_of_stream);
  }
}

#ifdef ASIO_HAS_CO_AWAIT
TEST_CASE("an Asio coroutine awaits an operation for its value or its error") {
  greeting_on_a_pipe op;
  const auto await_two = [](greeting_on_a_pipe& pipe) -> asio::awaitable<std::string> {
    const std::string first = co_await pipe.async_greeting(asio::use_awaitable);
    std::string second;
    try {
      co_await pipe.async_greeting(asio::use_awaitable);
    } catch (const std::system_error& e) {
      second = e.code() == errc::end_of_stream ? ", then the end" : e.what();
    }
    co_return first + second;
  };
  std::string result;
  asio::co_spawn(op.context, await_two(op),
                 [&](std::exception_ptr, std::string text) { result = std::move(text); });
  op.peer_write("hello");
  op.theirs.close();
  run_until_idle(op.context);
  CHECK(result == "hello, then the end");
}
#endif

// ------------------------------------------------------------------------------------ many threads

TEST_CASE("operations on a context that several threads run need no strand") {
  asio::io_context context;
  asio::thread_pool pool{2};
  auto ends = make_memory_pipe(context, 64);
  const std::string text = pattern(100'000);
  std::vector<std::byte> into(text.size());
  // Two operations, each with I/O, work and a timer pending at the same time.
  const auto move_all = [](action& moving, std::size_t bytes, long& worked) -> flow<std::uint64_t> {
    std::uint64_t moved = 0;
    const auto whole = moving;
    while (moved < bytes) {
      work counting{[&](std::error_code&) { ++worked; }};
      moving.run_and_wait(counting);
      if (whole.io == io_kind::write)
        moving.write_buffers[0] = whole.write_buffers[0].subspan(moved, 1000);
      else moving.read_buffer = whole.read_buffer.subspan(moved, 1000);
      const outcome out = co_await moving;
      if (out.error) break;
      moved += out.bytes;
    }
    co_return moved;
  };
  auto writing = write_of(text);
  auto reading = read_into(into);
  long worked[2] = {};
  const driver_settings settings{{}, pool.get_executor()};
  auto written = async_run<asio::steady_timer>(
      ends.first, settings,
      [&](std::error_code&) { return move_all(writing, text.size(), worked[0]); },
      asio::use_future);
  auto read = async_run<asio::steady_timer>(
      ends.second, settings,
      [&](std::error_code&) { return move_all(reading, text.size(), worked[1]); },
      asio::use_future);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { context.run(); });
  for (auto& thread : threads) thread.join();
  CHECK(written.get() == text.size());
  CHECK(read.get() == text.size());
  CHECK(worked[0] == 100);
  CHECK(worked[1] == 100);
  CHECK(text_of(into) == text);
}

}  // namespace async_run_tests
