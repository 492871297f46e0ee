#include "support/manual_clock.hpp"
#include "support/once_handler.hpp"
#include "support/script.hpp"

#include <filexfer/detail/driver/async_run.hpp>
#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/fault_stream.hpp>
#include <filexfer/memory_pipe.hpp>

#include <asio/awaitable.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

namespace async_run_tests {

namespace {

using namespace std::chrono_literals;
using filexfer::errc;
using filexfer::make_memory_pipe;
using filexfer::memory_pipe;
using filexfer::detail::action;
using filexfer::detail::as_bytes;
using filexfer::detail::async_run;
using filexfer::detail::deadline;
using filexfer::detail::driver_settings;
using filexfer::detail::flow;
using filexfer::detail::io_kind;
using filexfer::detail::outcome;
using filexfer::detail::work;
using test::expected_call;
using test::manual_timer;
using test::pass;
using test::settle;
using test::text_of;
using cancel = asio::cancellation_type;

const std::error_code aborted{asio::error::operation_aborted};

flow<outcome> one(action& wanted) { co_return co_await wanted; }

flow<std::vector<outcome>> in_turn(std::vector<action*> wanted) {
  std::vector<outcome> got;
  for (action* a : wanted) got.push_back(co_await *a);
  co_return got;
}

action read_into(std::span<std::byte> into, io_kind kind = io_kind::read_full) {
  action a;
  a.io = kind;
  a.read_buffer = into;
  return a;
}

action write_of(std::string_view text) {
  action a;
  a.io = io_kind::write;
  a.write_buffers[0] = as_bytes(text);
  return a;
}

// A pipe whose other end the test holds, and an operation on it.
struct operation_on_a_pipe {
  using one_outcome = expected_call<void(std::error_code, outcome)>;
  using outcomes = expected_call<void(std::error_code, std::vector<outcome>)>;

  explicit operation_on_a_pipe(std::size_t capacity = 1024)
      : ends{make_memory_pipe(context, capacity)} {}

  template <class Call, class MakeFlow>
  void start(Call& call, MakeFlow make) {
    call.cancelled_by(signal.slot());
    call.start([&](auto handler) {
      async_run<manual_timer>(ours, settings, std::move(make), std::move(handler));
    });
  }
  void start(one_outcome& call, action& wanted) {
    start(call, [&wanted](std::error_code&) { return one(wanted); });
  }
  void start(outcomes& call, std::vector<action*> wanted) {
    start(call, [wanted](std::error_code&) { return in_turn(wanted); });
  }

  // What the peer says and takes; never more than there is room and bytes for.
  void say(std::string_view text) {
    REQUIRE(theirs.write_some(asio::buffer(text)) == text.size());
    settle(context);
  }
  std::string hear(std::size_t most) {
    std::string text(most, '\0');
    text.resize(theirs.read_some(asio::buffer(text)));
    settle(context);
    return text;
  }

  asio::io_context context;
  std::pair<memory_pipe, memory_pipe> ends;
  memory_pipe& ours = ends.first;
  memory_pipe& theirs = ends.second;
  driver_settings settings;
  asio::cancellation_signal signal;
};

// Work that says when it has begun, and ends when told to.
class held_work {
 public:
  work<std::function<void(std::error_code&)>> call{[this](std::error_code& ec) {
    begun_.set_value();
    if (goes_on_.get_future().wait_for(30s) != std::future_status::ready) ec = errc::timed_out;
  }};

  bool wait_until_started() { return has_begun_.wait_for(30s) == std::future_status::ready; }
  bool has_begun() { return has_begun_.wait_for(0s) == std::future_status::ready; }
  void go_on() { goes_on_.set_value(); }

 private:
  std::promise<void> begun_;
  std::promise<void> goes_on_;
  std::future<void> has_begun_ = begun_.get_future();
};

// Polls until another thread's work has had its effect here.
template <class Condition>
void poll_until(asio::io_context& context, Condition holds) {
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (!holds() && std::chrono::steady_clock::now() < end) {
    context.restart();
    context.run_one_for(10ms);
  }
}

}  // namespace

// --------------------------------------------------------------------------------------- the contract

TEST_CASE("an operation whose flow ends at once completes later, and once") {
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

TEST_CASE("an operation that sets its code completes with it, and with its value") {
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
  op.say("1234");
  op.context.restart();
  op.context.run();
  call.result();
  CHECK(outside == 0);
}

TEST_CASE(
    "an operation takes its memory from the handler's allocator, and returns it before the call") {
  operation_on_a_pipe op;
  std::array<std::byte, 4> into{};
  auto reading = read_into(into);
  operation_on_a_pipe::one_outcome call;
  op.start(call, reading);
  CHECK(call.allocations() > 0);
  op.say("1234");
  CHECK(std::get<1>(call.result()).bytes == 4);
}

TEST_CASE("what a flow held is freed before the handler is called") {
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

TEST_CASE("a context runs until the work of its operation is done elsewhere") {
  operation_on_a_pipe op;
  asio::thread_pool pool{1};
  op.settings.work_executor = pool.get_executor();
  held_work held;
  action working;
  working.run_and_wait(held.call);
  operation_on_a_pipe::one_outcome call;
  op.start(call, working);
  settle(op.context);
  REQUIRE(held.wait_until_started());
  CHECK_FALSE(call.called());
  held.go_on();
  op.context.restart();
  op.context.run();
  CHECK_FALSE(std::get<0>(call.result()));
  CHECK_FALSE(held.call.error());
}

TEST_CASE("an operation that has ended leaves nothing behind that a context would wait for") {
  operation_on_a_pipe op;
  std::array<std::byte, 4> into{};
  auto reading = read_into(into);
  auto writing = write_of("written");
  writing.io = io_kind::read_write;
  std::array<std::byte, 4> stands{};
  writing.read_buffer = stands;
  operation_on_a_pipe::outcomes call;
  op.start(call, {&reading, &writing});
  op.say("1234");
  // Neither its timer nor the read that stands.
  CHECK(call.called());
  op.context.restart();
  CHECK(op.context.run() == 0);
  CHECK_FALSE(std::get<0>(call.result()));
}

TEST_CASE("a context that is destroyed drops its operations with all that they hold") {
  asio::cancellation_signal signal;
  operation_on_a_pipe::one_outcome call;
  call.may_be_dropped().cancelled_by(signal.slot());
  std::array<std::byte, 4> into{};
  auto reading = read_into(into);
  {
    operation_on_a_pipe op;
    call.start([&](auto handler) {
      async_run<manual_timer>(
          op.ours, {}, [&](std::error_code&) { return one(reading); }, std::move(handler));
    });
    settle(op.context);
  }
  CHECK(call.dropped());
  signal.emit(cancel::terminal);  // nobody is there
}

TEST_CASE("a slot is free again once the operation has completed") {
  operation_on_a_pipe op;
  std::array<std::byte, 4> into{};
  auto reading = read_into(into);
  operation_on_a_pipe::one_outcome call;
  op.start(call, reading);
  CHECK(op.signal.slot().has_handler());
  op.say("1234");
  CHECK_FALSE(op.signal.slot().has_handler());
  op.signal.emit(cancel::terminal);
  settle(op.context);
  CHECK_FALSE(std::get<0>(call.result()));
}

// ---------------------------------------------------------------------------------- completion tokens

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

TEST_CASE(
    "an operation takes a callback, also one that can only be moved, or is only referred to") {
  greeting_on_a_pipe op;
  std::string got;
  op.async_greeting([&](std::error_code, std::string text) { got = std::move(text); });
  op.say("hello");
  CHECK(got == "hello");
  op.async_greeting([&, only = std::make_unique<int>(1)](std::error_code, std::string text) {
    got = std::move(text) + std::to_string(*only);
  });
  op.say("again");
  CHECK(got == "again1");
  const auto kept = [&](std::error_code ec, const std::string&) { got = ec.message(); };
  op.async_greeting(kept);
  op.theirs.close();
  settle(op.context);
  CHECK(got == make_error_code(errc::end_of_stream).message());
}

TEST_CASE("an operation makes a future, of a value or of an error") {
  greeting_on_a_pipe op;
  auto future = op.async_greeting(asio::use_future);
  op.say("hello");
  CHECK(future.get() == "hello");
  auto broken = op.async_greeting(asio::use_future);
  op.theirs.close();
  settle(op.context);
  try {
    broken.get();
    FAIL("no exception");
  } catch (const std::system_error& e) {
    CHECK(e.code() == errc::end_of_stream);
  }
}

#ifdef ASIO_HAS_CO_AWAIT
TEST_CASE("an operation is awaited in a coroutine of Asio's, of a value or of an error") {
  greeting_on_a_pipe op;
  const auto two = [](greeting_on_a_pipe& on) -> asio::awaitable<std::string> {
    const std::string first = co_await on.async_greeting(asio::use_awaitable);
    std::string second;
    try {
      co_await on.async_greeting(asio::use_awaitable);
    } catch (const std::system_error& e) {
      second = e.code() == errc::end_of_stream ? ", then the end" : e.what();
    }
    co_return first + second;
  };
  std::string got;
  asio::co_spawn(op.context, two(op),
                 [&](std::exception_ptr, std::string text) { got = std::move(text); });
  op.say("hello");
  op.theirs.close();
  settle(op.context);
  CHECK(got == "hello, then the end");
}
#endif

// ---------------------------------------------------------------------------------- I/O beside work

TEST_CASE("the I/O and the work of an action go on at once") {
  operation_on_a_pipe op;
  asio::thread_pool pool{1};
  op.settings.work_executor = pool.get_executor();
  std::array<std::byte, 4> into{};
  held_work held;
  auto both = read_into(into);
  both.run_and_wait(held.call);
  operation_on_a_pipe::one_outcome call;
  op.start(call, both);
  settle(op.context);
  // The work has begun though the read is not done, and the read is done though the work is not.
  REQUIRE(held.wait_until_started());
  op.say("1234");
  CHECK(text_of(into) == "1234");
  CHECK_FALSE(call.called());
  held.go_on();
  poll_until(op.context, [&] { return call.called(); });
  CHECK(std::get<1>(call.result()).bytes == 4);
  CHECK_FALSE(held.call.error());
}

TEST_CASE("an action whose work is done first waits for its I/O") {
  operation_on_a_pipe op;
  asio::thread_pool pool{1};
  op.settings.work_executor = pool.get_executor();
  std::array<std::byte, 4> into{};
  work failing{[](std::error_code& ec) { ec = errc::io; }};
  auto both = read_into(into);
  both.run_and_wait(failing);
  operation_on_a_pipe::one_outcome call;
  op.start(call, both);
  settle(op.context);
  pool.wait();
  settle(op.context);
  CHECK(failing.error() == errc::io);
  CHECK_FALSE(call.called());
  op.say("1234");
  CHECK(std::get<1>(call.result()).bytes == 4);
}

TEST_CASE("work without an executor is done in place, beside the I/O that was begun before") {
  operation_on_a_pipe op;
  const auto here = std::this_thread::get_id();
  std::thread::id there;
  work noting{[&](std::error_code&) { there = std::this_thread::get_id(); }};
  auto both = write_of("written");
  both.run_and_wait(noting);
  operation_on_a_pipe::one_outcome call;
  op.start(call, both);
  settle(op.context);
  CHECK(there == here);
  CHECK(op.hear(100) == "written");
  CHECK(std::get<1>(call.result()).bytes == 7);
}

TEST_CASE("work outlives its action, and an action that awaits it ends after it") {
  operation_on_a_pipe op;
  asio::thread_pool pool{1};
  op.settings.work_executor = pool.get_executor();
  held_work held;
  auto beginning = write_of("1");
  beginning.starts[0] = &held.call;
  auto meanwhile = write_of("2");
  action awaiting;
  awaiting.waits_for[0] = &held.call;
  auto after = write_of("3");
  operation_on_a_pipe::outcomes call;
  op.start(call, {&beginning, &meanwhile, &awaiting, &after});
  settle(op.context);
  REQUIRE(held.wait_until_started());
  CHECK(op.hear(10) == "12");
  CHECK_FALSE(call.called());
  held.go_on();
  poll_until(op.context, [&] { return call.called(); });
  CHECK(op.hear(10) == "3");
  CHECK_FALSE(std::get<0>(call.result()));
}

TEST_CASE("an action that awaits work which has ended, or was never started, does not wait") {
  operation_on_a_pipe op;
  asio::thread_pool pool{1};
  op.settings.work_executor = pool.get_executor();
  work ended{[](std::error_code& ec) { ec = errc::io; }};
  work never{[](std::error_code&) {}};
  action beginning;
  beginning.starts[1] = &ended;
  action awaiting;
  awaiting.waits_for = {&never, &ended};
  operation_on_a_pipe::outcomes call;
  op.start(call, {&beginning, &awaiting, &awaiting});
  poll_until(op.context, [&] { return call.called(); });
  CHECK_FALSE(std::get<0>(call.result()));
  CHECK(ended.error() == errc::io);
}

TEST_CASE("work of one queue is done in order, one at a time, beside that of the other") {
  operation_on_a_pipe op;
  asio::thread_pool pool{2};
  op.settings.work_executor = pool.get_executor();
  std::atomic<int> order = 0;
  held_work first;
  work second{[&](std::error_code&) { order = order * 10 + 2; }};
  work third{[&](std::error_code&) { order = order * 10 + 3; }};
  held_work beside;
  std::array<action, 3> steps;
  steps[0].starts = {&first.call, &beside.call};
  steps[1].starts = {&second, nullptr};
  steps[2].starts = {&third, nullptr};
  action awaiting;
  awaiting.waits_for = {&third, &beside.call};
  operation_on_a_pipe::outcomes call;
  op.start(call, {&steps[0], &steps[1], &steps[2], &awaiting});
  settle(op.context);
  REQUIRE(first.wait_until_started());
  REQUIRE(beside.wait_until_started());  // though the first has not ended
  CHECK(order == 0);
  first.go_on();
  poll_until(op.context, [&] { return order == 23; });
  CHECK_FALSE(call.called());
  beside.go_on();
  poll_until(op.context, [&] { return call.called(); });
  CHECK(order == 23);
  CHECK_FALSE(std::get<0>(call.result()));
}

TEST_CASE("a long queue does not keep the work of others waiting for its end") {
  operation_on_a_pipe op;
  asio::thread_pool pool{1};
  op.settings.work_executor = pool.get_executor();
  std::string order;
  held_work first;
  work second{[&](std::error_code&) { order += '2'; }};
  action beginning;
  beginning.starts[0] = &first.call;
  action going_on;
  going_on.starts[0] = &second;
  going_on.waits_for[0] = &second;
  operation_on_a_pipe::outcomes call;
  op.start(call, {&beginning, &going_on});
  settle(op.context);
  REQUIRE(first.wait_until_started());
  asio::post(pool, [&] { order += 'o'; });
  first.go_on();
  poll_until(op.context, [&] { return call.called(); });
  CHECK(order == "o2");
  call.result();
}

TEST_CASE("cancelling waits for the work under way, and cancels what stands behind it") {
  operation_on_a_pipe op;
  asio::thread_pool pool{1};
  op.settings.work_executor = pool.get_executor();
  held_work first;
  bool worked = false;
  work second{[&](std::error_code&) { worked = true; }};
  action beginning;
  beginning.starts[0] = &first.call;
  action going_on;
  going_on.starts[0] = &second;
  going_on.waits_for[0] = &second;
  operation_on_a_pipe::outcomes call;
  op.start(call, {&beginning, &going_on});
  settle(op.context);
  REQUIRE(first.wait_until_started());
  op.signal.emit(cancel::terminal);
  settle(op.context);
  CHECK_FALSE(call.called());
  first.go_on();
  poll_until(op.context, [&] { return call.called(); });
  CHECK_FALSE(first.call.error());
  CHECK_FALSE(worked);
  CHECK(second.error() == std::errc::operation_canceled);
  call.result();
}

TEST_CASE("an operation does not end before a thread has left its work") {
  // The work is awaited by nobody who would have to wait: it has ended before.
  for (int round = 0; round < 200; ++round) {
    asio::thread_pool pool{2};
    {
      operation_on_a_pipe op;
      op.settings.work_executor = pool.get_executor();
      work quick{[](std::error_code&) {}};
      action beginning;
      beginning.starts[0] = &quick;
      action awaiting;
      awaiting.waits_for[0] = &quick;
      operation_on_a_pipe::outcomes call;
      op.start(call, {&beginning, &awaiting});
      // Not only until the handler is called: a thread that has posted it counts as work of the
      // context for a moment more, and only run() waits for that.
      op.context.restart();
      op.context.run();
      REQUIRE(call.called());
      CHECK_FALSE(std::get<0>(call.result()));
    }  // the context is gone; what a thread still did with the operation, a sanitizer would see
    pool.join();
  }
}

// ------------------------------------------------------------------------------------------ cancelling

TEST_CASE("an operation cancelled before it starts does nothing on the stream, nor its work") {
  operation_on_a_pipe op;
  bool worked = false;
  work noting{[&](std::error_code&) { worked = true; }};
  auto both = write_of("written");
  both.run_and_wait(noting);
  operation_on_a_pipe::outcomes call;
  action after;
  op.start(call, {&both, &after});
  op.signal.emit(cancel::terminal);
  op.context.run();
  const auto& [ec, got] = call.result();
  CHECK_FALSE(ec);  // this flow takes errors as they come
  REQUIRE(got.size() == 2);
  CHECK(got[0].error == aborted);
  CHECK(got[1].error == aborted);
  CHECK_FALSE(worked);
  CHECK(noting.error() == std::errc::operation_canceled);
  op.ours.close();
  std::error_code end;
  std::array<char, 8> rest{};
  CHECK(op.theirs.read_some(asio::buffer(rest), end) == 0);
}

namespace {

// An action of two parts, cancelled in a state, and then the next one.
struct two_parts {
  explicit two_parts(bool reading) {
    op.settings.work_executor = pool.get_executor();
    both = reading ? read_into(into) : write_of("0123456789");
    both.run_and_wait(held.call);
    op.start(call, [this](std::error_code& ec) { return run(ec); });
    settle(op.context);
    REQUIRE(held.wait_until_started());
  }

  flow<std::vector<outcome>> run(std::error_code& ec) {
    std::vector<outcome> got;
    got.push_back(co_await both);
    got.push_back(co_await next);
    ec = got.back().error;
    co_return got;
  }

  void let_io_end() {
    if (both.io == io_kind::write) op.hear(10);
    else op.say("1234");
  }
  void let_work_end() {
    held.go_on();
    pool.wait();
    settle(op.context);
  }
  void cancel_now() {
    op.signal.emit(cancel::terminal);
    settle(op.context);
  }

  std::vector<outcome> cancelled_outcomes() {
    const auto& [ec, got] = call.result();
    CHECK(ec == aborted);
    REQUIRE(got.size() == 2);
    CHECK(got[1].error == aborted);
    CHECK_FALSE(held.call.error());  // it was under way: so it is done
    return got;
  }

  operation_on_a_pipe op{4};
  asio::thread_pool pool{1};
  std::array<std::byte, 4> into{};
  held_work held;
  action both;
  action next;
  operation_on_a_pipe::outcomes call;
};

}  // namespace

TEST_CASE(
    "an action cancelled with I/O and work pending ends its I/O, waits for the work, completes") {
  for (const bool reading : {true, false}) {
    two_parts parts{reading};
    parts.cancel_now();
    CHECK_FALSE(parts.call.called());
    parts.let_work_end();
    CHECK(parts.cancelled_outcomes()[0].error == aborted);
  }
}

TEST_CASE("an action cancelled with its I/O done and work pending waits for the work, completes") {
  for (const bool reading : {true, false}) {
    two_parts parts{reading};
    parts.let_io_end();
    if (!reading) parts.let_io_end();
    if (!reading) parts.let_io_end();
    CHECK_FALSE(parts.call.called());
    parts.cancel_now();
    CHECK_FALSE(parts.call.called());
    parts.let_work_end();
    const auto got = parts.cancelled_outcomes();
    CHECK_FALSE(got[0].error);
    CHECK(got[0].bytes == (reading ? 4 : 10));
  }
}

TEST_CASE("an action cancelled with its work done and I/O pending ends its I/O, completes") {
  for (const bool reading : {true, false}) {
    two_parts parts{reading};
    parts.let_work_end();
    CHECK_FALSE(parts.call.called());
    parts.cancel_now();
    CHECK(parts.cancelled_outcomes()[0].error == aborted);
  }
}

TEST_CASE("an action cancelled when both its parts have ended, but nobody knows yet, completes") {
  two_parts parts{true};
  parts.op.theirs.write_some(asio::buffer("1234", 4));
  parts.held.go_on();
  parts.pool.wait();
  parts.op.signal.emit(cancel::terminal);
  settle(parts.op.context);
  parts.cancelled_outcomes();
}

TEST_CASE("a write that is cancelled between two of its calls does not go on") {
  const std::string text = "0123456789";
  bool completed = false;
  for (std::size_t handlers = 0; !completed; ++handlers) {
    CAPTURE(handlers);
    asio::io_context context;
    auto [ours, theirs] = filexfer::make_memory_pipe(context);
    filexfer::fault_stream<filexfer::memory_pipe> stream{std::move(ours), {.max_write = 1}};
    auto writing = write_of(text);
    asio::cancellation_signal signal;
    expected_call<void(std::error_code, outcome)> call;
    call.cancelled_by(signal.slot());
    call.start([&](auto handler) {
      async_run<manual_timer>(
          stream, {}, [&](std::error_code&) { return one(writing); }, std::move(handler));
    });
    for (std::size_t i = 0; i < handlers; ++i) {
      context.restart();
      context.poll_one();
    }
    completed = call.called();
    const auto before = stream.bytes_written();
    signal.emit(cancel::terminal);
    settle(context);
    const auto written = stream.bytes_written();
    CHECK(written <= before + 1);  // the call that was under way may have ended already
    REQUIRE(call.called());
    CHECK(std::get<1>(call.result()).bytes == written);
    CHECK((written == text.size() || std::get<1>(call.result()).error == aborted));
  }
}

TEST_CASE("cancelling twice, or of another type first, completes an operation once") {
  for (const cancel first : {cancel::terminal, cancel::partial, cancel::total}) {
    operation_on_a_pipe op;
    std::array<std::byte, 4> into{};
    auto reading = read_into(into);
    operation_on_a_pipe::one_outcome call;
    op.start(call, reading);
    settle(op.context);
    op.signal.emit(first);
    op.signal.emit(cancel::terminal);
    op.signal.emit(cancel::terminal);
    settle(op.context);
    CHECK(std::get<1>(call.result()).error == aborted);
  }
}

TEST_CASE(
    "cancelling of type partial or total does nothing to an action that may not be interrupted") {
  for (const cancel type : {cancel::partial, cancel::total}) {
    operation_on_a_pipe op;
    std::array<std::byte, 4> into{};
    auto reading = read_into(into);
    operation_on_a_pipe::one_outcome call;
    op.start(call, reading);
    settle(op.context);
    op.signal.emit(type);
    settle(op.context);
    CHECK_FALSE(call.called());
    op.say("1234");
    CHECK_FALSE(std::get<1>(call.result()).error);
  }
}

TEST_CASE("cancelling of type partial or total interrupts a read that allows it, now or later") {
  for (const cancel type : {cancel::partial, cancel::total}) {
    for (const bool now : {true, false}) {
      operation_on_a_pipe op;
      std::array<std::byte, 4> into{};
      auto first = read_into(into);
      auto second = read_into(into);
      first.interruptible = now;
      second.interruptible = true;
      operation_on_a_pipe::outcomes call;
      op.start(call, {&first, &second});
      settle(op.context);
      op.signal.emit(type);
      settle(op.context);
      if (!now) op.say("1234");
      const auto& [ec, got] = call.result();
      REQUIRE(got.size() == 2);
      CHECK(got[0].error == (now ? make_error_code(errc::shutting_down) : std::error_code{}));
      CHECK(got[1].error == errc::shutting_down);
    }
  }
}

TEST_CASE("a flow may cancel its own operation") {
  for (const cancel type : {cancel::terminal, cancel::total}) {
    operation_on_a_pipe op;
    std::array<std::byte, 4> into{};
    auto reading = read_into(into);
    reading.interruptible = true;
    const auto suicidal = [](asio::cancellation_signal& signal, cancel how,
                             action& a) -> flow<outcome> {
      signal.emit(how);
      co_return co_await a;
    };
    operation_on_a_pipe::one_outcome call;
    op.start(call, [&](std::error_code&) { return suicidal(op.signal, type, reading); });
    settle(op.context);
    const auto expected = type == cancel::terminal ? aborted : make_error_code(errc::shutting_down);
    CHECK(std::get<1>(call.result()).error == expected);
  }
}

TEST_CASE("an operation that is cancelled still closes its stream where the flow says so") {
  operation_on_a_pipe op;
  std::array<std::byte, 4> into{};
  auto reading = read_into(into);
  action closing;
  closing.io = io_kind::close;
  operation_on_a_pipe::outcomes call;
  op.start(call, {&reading, &closing});
  settle(op.context);
  op.signal.emit(cancel::terminal);
  settle(op.context);
  CHECK_FALSE(op.ours.is_open());
  call.result();
}

// ------------------------------------------------------------------------------------------- deadlines

namespace {

constexpr auto just_under = 1ns;

std::chrono::nanoseconds limit_of(deadline d, const filexfer::time_limits& limits) {
  switch (d) {
    case deadline::line: return limits.line;
    case deadline::reply: return limits.reply;
    case deadline::idle: return limits.idle;
    case deadline::linger: return limits.linger;
  }
  return {};
}

constexpr deadline all_deadlines[] = {deadline::line, deadline::reply, deadline::idle,
                                      deadline::linger};

}  // namespace

TEST_CASE("an action waits as long as its deadline says, and no longer") {
  CHECK(limit_of(deadline::line, {}) == 60s);
  CHECK(limit_of(deadline::idle, {}) == 60s);
  CHECK(limit_of(deadline::reply, {}) == 600s);
  CHECK(limit_of(deadline::linger, {}) == 2s);
  for (const deadline d : all_deadlines) {
    for (const bool writes : {false, true}) {
      operation_on_a_pipe op{4};
      std::array<std::byte, 4> into{};
      auto waiting = writes ? write_of("too much") : read_into(into);
      waiting.deadline = d;
      operation_on_a_pipe::one_outcome call;
      op.start(call, waiting);
      settle(op.context);
      pass(op.context, limit_of(d, {}) - just_under);
      CHECK_FALSE(call.called());
      pass(op.context, just_under);
      CHECK(std::get<1>(call.result()).error == errc::timed_out);
      CHECK(std::get<1>(call.result()).bytes == (writes ? 4 : 0));
    }
  }
}

TEST_CASE("an action that ends just before its deadline has not timed out") {
  for (const deadline d : all_deadlines) {
    operation_on_a_pipe op;
    std::array<std::byte, 4> into{};
    auto waiting = read_into(into);
    waiting.deadline = d;
    operation_on_a_pipe::outcomes call;
    op.start(call, {&waiting, &waiting});
    settle(op.context);
    // The next one has a deadline of its own.
    for (int i = 0; i < 2; ++i) {
      CHECK_FALSE(call.called());
      pass(op.context, limit_of(d, {}) - just_under);
      op.say("1234");
    }
    for (const auto& out : std::get<1>(call.result())) CHECK_FALSE(out.error);
  }
}

TEST_CASE("an absolute deadline is not moved by bytes that drip in") {
  for (const deadline d : {deadline::line, deadline::reply, deadline::linger}) {
    operation_on_a_pipe op;
    op.settings.limits.least_rate = 0;
    std::array<std::byte, 100> into{};
    auto bytes = read_into(into, io_kind::read_some);  // whose deadline does move
    auto whole = read_into(into);
    whole.deadline = d;
    const auto limit = limit_of(d, {});
    operation_on_a_pipe::outcomes call;
    op.start(call, {&bytes, &whole});
    settle(op.context);
    op.say("x");
    for (int i = 0; i < 9; ++i) {
      pass(op.context, limit / 10);
      op.say("x");
    }
    pass(op.context, limit / 10 - just_under);
    CHECK_FALSE(call.called());
    pass(op.context, just_under);
    REQUIRE(call.called());
    CHECK(std::get<1>(call.result())[1].error == errc::timed_out);
    CHECK(std::get<1>(call.result())[1].bytes == 9);
  }
}

TEST_CASE("actions that continue a deadline share that of the first") {
  operation_on_a_pipe op;
  std::array<std::byte, 100> into{};
  auto first = read_into(into, io_kind::read_some);
  first.deadline = deadline::line;
  auto next = first;
  next.continues_deadline = true;
  operation_on_a_pipe::outcomes call;
  op.start(call, {&first, &next, &next, &next});
  settle(op.context);
  for (int i = 0; i < 3; ++i) {
    pass(op.context, 19s);
    op.say("x");
  }
  pass(op.context, 3s - just_under);
  CHECK_FALSE(call.called());
  pass(op.context, just_under);
  CHECK(std::get<1>(call.result()).back().error == errc::timed_out);
}

TEST_CASE("bytes may come as slowly as the idle time allows, while the least rate is kept") {
  operation_on_a_pipe op;
  op.settings.limits.least_rate = 0;
  std::array<std::byte, 30> into{};
  auto bytes = read_into(into);
  operation_on_a_pipe::one_outcome call;
  op.start(call, bytes);
  settle(op.context);
  for (int i = 0; i < 30; ++i) {
    CHECK_FALSE(call.called());
    pass(op.context, 60s - just_under);
    op.say("x");
  }
  CHECK_FALSE(std::get<1>(call.result()).error);
}

TEST_CASE("bytes that trickle under the least rate are cut off though they never pause") {
  for (const bool writes : {false, true}) {
    operation_on_a_pipe op{16};
    op.settings.limits.least_rate = 2;
    const std::string text(200, 'x');
    std::vector<std::byte> into(200);
    auto bytes = writes ? write_of(text) : read_into(into);
    operation_on_a_pipe::one_outcome call;
    op.start(call, bytes);
    settle(op.context);
    // 200 bytes may take 60 s and 100 s.
    for (int i = 0; i < 159; ++i) {
      pass(op.context, 1s);
      if (writes) op.hear(1);
      else op.say("x");
    }
    pass(op.context, 1s - just_under);
    CHECK_FALSE(call.called());
    pass(op.context, just_under);
    CHECK(std::get<1>(call.result()).error == errc::timed_out);
    CHECK(std::get<1>(call.result()).bytes >= 159);
  }
}

TEST_CASE("bytes at just the least rate are not cut off") {
  operation_on_a_pipe op;
  op.settings.limits.least_rate = 2;
  std::vector<std::byte> into(200);
  auto bytes = read_into(into);
  operation_on_a_pipe::one_outcome call;
  op.start(call, bytes);
  settle(op.context);
  for (int i = 0; i < 100; ++i) {
    pass(op.context, 1s);
    op.say("xx");
  }
  CHECK_FALSE(std::get<1>(call.result()).error);
}

TEST_CASE("limits of any length are kept, and the longest never pass") {
  filexfer::time_limits endless;
  endless.line = endless.idle = endless.reply = endless.linger = std::chrono::milliseconds::max();
  endless.least_rate = 1;
  for (const deadline d : all_deadlines) {
    operation_on_a_pipe op;
    op.settings.limits = endless;
    std::array<std::byte, 4> into{};
    auto waiting = read_into(into);
    waiting.deadline = d;
    operation_on_a_pipe::one_outcome call;
    op.start(call, waiting);
    settle(op.context);
    pass(op.context, 1000h);
    op.say("12");
    pass(op.context, 1000h);
    CHECK_FALSE(call.called());
    op.say("34");
    CHECK_FALSE(std::get<1>(call.result()).error);
  }
}

TEST_CASE("work has no deadline, and the I/O beside it keeps its own") {
  operation_on_a_pipe op;
  asio::thread_pool pool{1};
  op.settings.work_executor = pool.get_executor();
  held_work alone;
  action working;
  working.run_and_wait(alone.call);
  held_work beside;
  std::array<std::byte, 4> into{};
  auto both = read_into(into);
  both.run_and_wait(beside.call);
  operation_on_a_pipe::outcomes call;
  op.start(call, {&working, &both});
  settle(op.context);
  REQUIRE(alone.wait_until_started());
  pass(op.context, 24h);
  CHECK_FALSE(call.called());
  alone.go_on();
  poll_until(op.context, [&] { return beside.has_begun(); });
  REQUIRE(beside.wait_until_started());
  pass(op.context, 60s);
  CHECK_FALSE(call.called());  // the read has timed out, the work goes on
  beside.go_on();
  pool.wait();
  settle(op.context);
  const auto& got = std::get<1>(call.result());
  REQUIRE(got.size() == 2);
  CHECK_FALSE(got[0].error);
  CHECK(got[1].error == errc::timed_out);
  CHECK_FALSE(beside.call.error());
}

TEST_CASE("a shorter deadline after a longer one is kept") {
  operation_on_a_pipe op;
  std::array<std::byte, 4> into{};
  auto longer = read_into(into);
  longer.deadline = deadline::reply;
  auto shorter = read_into(into);
  shorter.deadline = deadline::linger;
  operation_on_a_pipe::outcomes call;
  op.start(call, {&longer, &shorter});
  settle(op.context);
  op.say("1234");
  pass(op.context, 2s - just_under);
  CHECK_FALSE(call.called());
  pass(op.context, just_under);
  REQUIRE(call.called());
  const auto& got = std::get<1>(call.result());
  REQUIRE(got.size() == 2);
  CHECK_FALSE(got[0].error);
  CHECK(got[1].error == errc::timed_out);
}

TEST_CASE("a flow goes on after an action that timed out") {
  operation_on_a_pipe op;
  std::array<std::byte, 4> into{};
  auto reading = read_into(into);
  operation_on_a_pipe::outcomes call;
  op.start(call, {&reading, &reading});
  settle(op.context);
  pass(op.context, 60s);
  CHECK_FALSE(call.called());
  op.say("1234");
  const auto& got = std::get<1>(call.result());
  CHECK(got[0].error == errc::timed_out);
  CHECK_FALSE(got[1].error);
}

// ----------------------------------------------------------------------------------------- exchanges

namespace {

action exchange_of(std::string_view from, std::span<std::byte> into) {
  action both = write_of(from);
  both.io = io_kind::read_write;
  both.read_buffer = into;
  return both;
}

struct exchange_on_a_pipe : operation_on_a_pipe {
  explicit exchange_on_a_pipe(std::size_t capacity = 16) : operation_on_a_pipe{capacity} {}
  std::array<std::byte, 8> into{};
  action first = exchange_of("first, ", into);
  action rest = exchange_of("first, ", {});  // of the same write
  action second = exchange_of("second", into);
  action only_reads = exchange_of("", into);
  action reading = read_into(into, io_kind::read_some);
  action stopping;
  outcomes call;
};

}  // namespace

TEST_CASE("a read_write that has written leaves its read standing, for what follows to join") {
  for (const bool exchanges : {true, false}) {
    exchange_on_a_pipe op;
    op.start(op.call, {&op.first, &op.second, exchanges ? &op.only_reads : &op.reading});
    settle(op.context);
    CHECK(op.hear(100) == "first, second");
    CHECK_FALSE(op.call.called());
    op.say("reply");
    const auto& got = std::get<1>(op.call.result());
    REQUIRE(got.size() == 3);
    CHECK(got[0].written);
    CHECK_FALSE(got[0].read);
    CHECK(got[1].written);
    CHECK_FALSE(got[1].read);
    CHECK_FALSE(got[2].error);
    CHECK_FALSE(got[2].written);
    if (exchanges) REQUIRE(got[2].read);
    CHECK((exchanges ? got[2].read->bytes : got[2].bytes) == 5);
    CHECK(text_of(op.into).substr(0, 5) == "reply");
  }
}

TEST_CASE("a read_write that has read leaves its write standing, for what follows to join") {
  exchange_on_a_pipe op{4};
  op.start(op.call, {&op.first, &op.first, &op.reading, &op.rest});
  settle(op.context);
  op.say("now");
  op.say("then");
  op.say("last");  // read while the write stands
  CHECK_FALSE(op.call.called());
  CHECK(op.hear(4) == "firs");
  CHECK(op.hear(4) == "t, ");
  const auto& got = std::get<1>(op.call.result());
  REQUIRE(got.size() == 4);
  for (const std::size_t n : {0U, 1U}) {
    REQUIRE(got[n].read);
    CHECK(got[n].read->bytes == 3 + n);
    CHECK_FALSE(got[n].read->error);
    CHECK_FALSE(got[n].written);
    CHECK_FALSE(got[n].error);
  }
  CHECK(got[2].bytes == 4);
  CHECK(got[3].written);
  CHECK_FALSE(got[3].read);
}

TEST_CASE("what comes between two exchanges is told with the second, which has begun to write") {
  for (const bool writes : {true, false}) {
    exchange_on_a_pipe op;
    asio::thread_pool pool{1};
    op.settings.work_executor = pool.get_executor();
    held_work pause;
    action working;
    working.run_and_wait(pause.call);
    action end_of_second = exchange_of("second", {});
    op.start(op.call, {&op.first, &working, writes ? &op.second : &op.reading, &end_of_second});
    settle(op.context);
    REQUIRE(pause.wait_until_started());
    op.say("now");
    pause.go_on();
    pool.wait();
    settle(op.context);
    const auto& got = std::get<1>(op.call.result());
    REQUIRE(got.size() == 4);
    if (writes) REQUIRE(got[2].read);
    CHECK((writes ? got[2].read->bytes : got[2].bytes) == 3);
    CHECK(text_of(op.into).substr(0, 3) == "now");
    CHECK(op.hear(100) == "first, second");
  }
}

TEST_CASE("the end of the stream is seen by a read_write") {
  exchange_on_a_pipe op{4};
  op.start(op.call, {&op.first, &op.rest, &op.reading});
  settle(op.context);
  op.theirs.shutdown(asio::socket_base::shutdown_send);
  op.hear(4);
  op.hear(4);
  const auto& got = std::get<1>(op.call.result());
  REQUIRE(got[0].read);
  CHECK(got[0].read->error == errc::end_of_stream);
  CHECK_FALSE(got[0].error);
  CHECK(got[1].written);
  CHECK(got[2].error == errc::end_of_stream);
}

TEST_CASE("a read_write whose write fails tells it, and what was read") {
  exchange_on_a_pipe op{4};
  op.start(op.call, {&op.first, &op.rest, &op.reading});
  settle(op.context);
  op.say("bye");
  op.theirs.close();
  settle(op.context);
  const auto& got = std::get<1>(op.call.result());
  REQUIRE(got[0].read);
  CHECK(got[0].read->bytes == 3);
  CHECK(got[1].error == asio::error::broken_pipe);
  CHECK_FALSE(got[1].written);
}

TEST_CASE("a read_write has its deadline, and the read that joins what it has left its own") {
  exchange_on_a_pipe op{4};
  op.reading.deadline = deadline::reply;
  op.start(op.call, {&op.first, &op.reading, &op.reading});
  settle(op.context);
  pass(op.context, 60s);
  CHECK_FALSE(op.call.called());  // the write has timed out, the reply may still come
  pass(op.context, 600s - just_under);
  op.say("late");
  CHECK_FALSE(op.call.called());
  pass(op.context, 600s);
  const auto& got = std::get<1>(op.call.result());
  CHECK(got[0].error == errc::timed_out);
  CHECK_FALSE(got[0].written);
  CHECK_FALSE(got[1].error);
  CHECK(got[1].bytes == 4);
  CHECK(got[2].error == errc::timed_out);
}

TEST_CASE("what moves either way in a read_write gives it time") {
  for (const bool reads : {true, false}) {
    exchange_on_a_pipe op{4};
    op.settings.limits.least_rate = 0;
    action same = op.first;
    same.continues_deadline = true;
    op.start(op.call, {&op.first, &same});
    settle(op.context);
    pass(op.context, 60s - just_under);
    if (reads) op.say("now");
    else op.hear(1);
    pass(op.context, 60s - just_under);
    CHECK_FALSE(op.call.called());
    pass(op.context, just_under);
    REQUIRE(op.call.called());
    CHECK(std::get<1>(op.call.result())[reads ? 1 : 0].error == errc::timed_out);
  }
}

TEST_CASE("a read_write that only reads times out, and is cancelled, like any read") {
  for (const bool cancels : {true, false}) {
    for (const bool exchanges : {true, false}) {
      exchange_on_a_pipe op;
      op.start(op.call, {&op.first, exchanges ? &op.only_reads : &op.reading});
      settle(op.context);
      if (cancels) op.signal.emit(cancel::terminal);
      pass(op.context, cancels ? 0s : 60s);
      const auto& got = std::get<1>(op.call.result());
      CHECK_FALSE(got[0].error);
      CHECK(got[1].error == (cancels ? aborted : make_error_code(errc::timed_out)));
    }
  }
}

TEST_CASE("a read_write that is cancelled ends with its read and its write") {
  exchange_on_a_pipe op{4};
  op.start(op.call, {&op.first, &op.reading});
  settle(op.context);
  op.signal.emit(cancel::terminal);
  settle(op.context);
  const auto& got = std::get<1>(op.call.result());
  CHECK(got[0].error == aborted);
  CHECK(got[1].error == aborted);
  op.say("rest");  // nobody reads it
  CHECK(text_of(op.into).substr(0, 1) == std::string(1, '\0'));
}

TEST_CASE("a write that stands is stopped on request, and before an operation that was cancelled") {
  for (const bool cancels : {true, false}) {
    exchange_on_a_pipe op{4};
    op.stopping.io = io_kind::cancel_write;
    action& last = cancels ? op.rest : op.stopping;
    asio::thread_pool pool{1};
    op.settings.work_executor = pool.get_executor();
    held_work pause;
    action working;
    working.run_and_wait(pause.call);
    op.start(op.call, {&op.first, &working, &last});
    settle(op.context);
    op.say("now");
    REQUIRE(pause.wait_until_started());
    if (cancels) op.signal.emit(cancel::terminal);
    pause.go_on();
    pool.join();
    settle(op.context);
    const auto& got = std::get<1>(op.call.result());
    REQUIRE(got.size() == 3);
    CHECK(got[2].error == (cancels ? aborted : std::error_code{}));
    op.ours.close();
    CHECK(op.hear(100) == "firs");  // and nothing more
    CHECK_THROWS(op.hear(1));
  }
}

// ------------------------------------------------------------------------------------- many threads

TEST_CASE("an operation on a context that several threads run is in one piece") {
  asio::io_context context;
  asio::thread_pool pool{2};
  auto ends = make_memory_pipe(context, 64);
  const std::string text = test::pattern(100'000);
  std::vector<std::byte> into(text.size());
  // Two operations, each with I/O, work and a timer under way at once, and no strand.
  const auto move_all = [](action& moving, std::size_t bytes, long& worked) -> flow<std::uint64_t> {
    std::uint64_t moved = 0;
    const auto all = moving;
    while (moved < bytes) {
      work counting{[&](std::error_code&) { ++worked; }};
      moving.run_and_wait(counting);
      if (all.io == io_kind::write)
        moving.write_buffers[0] = all.write_buffers[0].subspan(moved, 1000);
      else moving.read_buffer = all.read_buffer.subspan(moved, 1000);
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
