#include "support/pool_fixture.hpp"
#include "support/virtual_timer.hpp"

#include <filexfer/detail/stream/limited_stream.hpp>
#include <filexfer/memory_pipe.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace rate_limit_tests {

using namespace std::chrono_literals;
using filexfer::memory_pipe;
using test::manual_clock;
using test::virtual_timer;

namespace {

using limit = filexfer::detail::rate_limit<manual_clock>;
using limited = filexfer::detail::limited_stream<memory_pipe, virtual_timer>;

constexpr std::size_t kib = 1024;

double seconds_since(manual_clock::time_point start) {
  return std::chrono::duration<double>(manual_clock::now() - start).count();
}

/// Both ends of a pipe, one of them limited.
struct pipe_fixture {
  explicit pipe_fixture(std::shared_ptr<limit> rate)
      : pipe{filexfer::make_memory_pipe(context.get_executor(), 1000 * kib)},
        stream{std::move(pipe.first), std::move(rate)} {}

  asio::io_context context;
  std::pair<memory_pipe, memory_pipe> pipe;
  limited stream;
};

/// Writes or reads until `left` bytes have moved.
struct mover {
  limited& stream;
  std::string& data;
  bool writes;
  std::size_t left;
  std::size_t operations = 0;

  void next() {
    if (left == 0) return;
    const auto moved = [this](std::error_code ec, std::size_t bytes) {
      REQUIRE(!ec);
      REQUIRE(bytes > 0);
      left -= bytes;
      ++operations;
      next();
    };
    const auto buffer = asio::buffer(data, left);
    if (writes) stream.async_write_some(asio::const_buffer{buffer}, moved);
    else stream.async_read_some(buffer, moved);
  }
};

void run(asio::io_context& context) {
  do {
    context.restart();
    context.poll();
  } while (virtual_timer::advance_to_next_expiry());
}

}  // namespace

TEST_CASE("a limited stream writes and reads at its rate, and not in one burst") {
  for (const bool writes : {true, false}) {
    CAPTURE(writes);
    pipe_fixture f{std::make_shared<limit>(100 * kib)};
    std::string data(500 * kib, 'x');
    if (!writes) REQUIRE(f.pipe.second.write_some(asio::buffer(data)) == data.size());
    mover m{f.stream, data, writes, data.size()};
    const auto start = manual_clock::now();
    m.next();
    run(f.context);
    CHECK(m.left == 0);
    CHECK(m.operations == 50);
    CHECK(seconds_since(start) == doctest::Approx(4.8).epsilon(0.01));  // 0.1 s of slack each end
  }
}

TEST_CASE("streams with one limit share its rate evenly, whatever their direction") {
  const auto rate = std::make_shared<limit>(100 * kib);
  pipe_fixture first{rate};
  pipe_fixture second{rate};
  std::string data(1000 * kib, 'x');
  REQUIRE(second.pipe.second.write_some(asio::buffer(data)) == data.size());
  mover up{first.stream, data, true, 500 * kib};
  mover down{second.stream, data, false, 500 * kib};
  const auto start = manual_clock::now();
  up.next();
  down.next();
  while (up.left > 0 && down.left > 0) {
    for (asio::io_context* context : {&first.context, &second.context}) {
      context->restart();
      context->poll();
    }
    REQUIRE(virtual_timer::advance_to_next_expiry());
  }
  CHECK(up.left + down.left <= 20 * kib);
  CHECK(seconds_since(start) == doctest::Approx(9.8).epsilon(0.03));
  run(first.context);
  run(second.context);
}

TEST_CASE("a stream without a limit does not wait") {
  pipe_fixture f{nullptr};
  std::string data(500 * kib, 'x');
  mover m{f.stream, data, true, data.size()};
  m.next();
  f.context.poll();
  CHECK(m.left == 0);
  CHECK(!virtual_timer::any_waits());
}

TEST_CASE("a transfer that waits for its turn can be cancelled") {
  const auto rate = std::make_shared<limit>(1);
  rate->add(1000);
  pipe_fixture f{rate};
  asio::cancellation_signal cancel;
  std::optional<std::error_code> ended;
  std::string data(10, 'x');
  f.stream.async_write_some(
      asio::const_buffer{asio::buffer(data)},
      asio::bind_cancellation_slot(cancel.slot(), [&](std::error_code ec, std::size_t bytes) {
        ended = ec;
        CHECK(bytes == 0);
      }));
  f.context.poll();
  CHECK(!ended);
  cancel.emit(asio::cancellation_type::terminal);
  f.context.restart();
  f.context.poll();
  REQUIRE(ended);
  CHECK(*ended == asio::error::operation_aborted);
}

TEST_CASE("a timer that fires late does not lower the rate") {
  limit rate{1000};
  rate.add(1000);
  manual_clock::advance(1050ms);
  rate.add(1000);
  CHECK(rate.next() - manual_clock::now() == 900ms);
  manual_clock::advance(1h);
  rate.add(1000);  // but what was not used long ago is lost
  CHECK(rate.next() - manual_clock::now() == 900ms);
}

// ------------------------------------------------------------------------------------- with a pool

namespace {

filexfer::pool_options limited_to(std::uint64_t rate, std::size_t connections) {
  filexfer::pool_options options{.connections = connections, .retry_for = 0s};
  options.max_rate = rate;
  return options;
}

}  // namespace

TEST_CASE("all connections of a pool together keep to its rate, up and down") {
  for (const std::size_t connections : {std::size_t{1}, std::size_t{4}}) {
    CAPTURE(connections);
    test::pool_fixture f{limited_to(100 * kib, connections)};
    auto files = test::some_files(10, 100 * kib);
    auto start = manual_clock::now();
    f.upload(files);
    f.run();
    REQUIRE(f.ended == std::error_code{});
    CHECK(f.totals.transferred == 10);
    CHECK(test::all_stored(f, files));
    CHECK(seconds_since(start) == doctest::Approx(10).epsilon(0.08));

    std::vector<test::memory_target> targets;
    for (const auto& file : files) {
      targets.push_back({test::id_of(file.text), file.name(), std::nullopt});
    }
    start = manual_clock::now();
    f.download(targets);
    f.run();
    REQUIRE(f.ended == std::error_code{});
    CHECK(f.totals.transferred == 10);
    CHECK(seconds_since(start) == doctest::Approx(10).epsilon(0.08));
  }
}

TEST_CASE("waiting for a pool's rate exceeds no deadline of its own") {
  auto options = limited_to(8 * kib, 4);
  options.client.limits.reply = std::chrono::milliseconds::max();
  options.client.limits.idle = 10ms;
  options.client.limits.line = 10ms;
  options.client.limits.linger = 10ms;
  test::pool_fixture f{options};
  auto files = test::some_files(4, 100 * kib);
  f.upload(files);
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.transferred == 4);
  CHECK(f.failures.empty());
}

TEST_CASE("a pool with a rate of zero has no limit") {
  test::pool_fixture f{limited_to(0, 1)};
  auto files = test::some_files(10, 100 * kib);
  const auto start = manual_clock::now();
  f.upload(files);
  f.run();
  CHECK(f.totals.transferred == 10);
  CHECK(seconds_since(start) == 0);
}

}  // namespace rate_limit_tests
