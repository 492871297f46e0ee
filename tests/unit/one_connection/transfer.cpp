#include "support/manual_clock.hpp"
#include "support/scratch_folder.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/directory_store.hpp>
#include <filexfer/fault_stream.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/session.hpp>
#include <filexfer/transfer.hpp>

#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace transfer_tests {

using namespace test;
using namespace std::chrono_literals;
using filexfer::errc;
using filexfer::failure_origin;
using request = filexfer::upload_request<md5_digest>;

namespace {

constexpr filexfer::retry_policy at_once{10s, 0ms, 0ms};

/// A server with a thread per connection, and connections that break.
struct breaking_server {
  using store_type = filexfer::directory_store<>;
  using stream_type = filexfer::fault_stream<filexfer::memory_pipe>;

  ~breaking_server() { join(); }

  void join() {
    for (auto& session : sessions) session.join();
    sessions.clear();
  }

  /// A connection that is reset after `bytes` bytes were written.
  stream_type connect(std::uint64_t bytes) {
    auto [near, far] = filexfer::make_memory_pipe(context.get_executor(), 65536);
    join();  // until the previous connection's bytes are stored
    sessions.emplace_back([this, end = std::move(far)]() mutable {
      filexfer::session<filexfer::memory_pipe, store_type> session{std::move(end), store};
      std::error_code ignored;
      session.run(ignored);
    });
    ++connections;
    return stream_type{std::move(near), {.reset_after_written = bytes}};
  }

  scratch_folder folder;
  store_type store{folder / "store"};
  asio::io_context context;
  std::vector<std::thread> sessions;
  int connections = 0;
};

/// A source that counts the bytes read from it.
struct counted_source : filexfer::memory_source {
  using memory_source::memory_source;
  std::size_t read(std::span<std::byte> to, std::error_code& ec) {
    const auto count = memory_source::read(to, ec);
    bytes_read += count;
    return count;
  }
  std::uint64_t bytes_read = 0;
};

}  // namespace

TEST_CASE("an upload whose connections break stores one file, whole") {
  breaking_server server;
  const std::string bytes = noise(400);
  filexfer::memory_source source{bytes};
  // Enough for the lines before the bytes; each connection takes 20 bytes more than the last.
  constexpr std::uint64_t lines = 160;
  int attempt = 0;
  std::error_code ec;
  const auto result = filexfer::upload_with_retries(
      [&](std::error_code&) {
        return server.connect(lines + 20 * static_cast<unsigned>(++attempt));
      },
      source, request{"broken"}, at_once, ec);
  CHECK_FALSE(ec);
  CHECK(result.remote_digest == id_of(bytes));
  CHECK(result.local_digest == id_of(bytes));
  CHECK(result.offset > 0);
  CHECK(server.connections > 3);
  server.join();
  CHECK(entries(server.store) == std::vector{entry("broken", bytes)});
  CHECK(fetch(server.store, id_of(bytes)) == bytes);
}

TEST_CASE("no byte is sent twice except those in flight") {
  breaking_server server;
  const std::string bytes = noise(3'000'000);
  counted_source source{bytes};
  int attempt = 0;
  std::error_code ec;
  const auto result = filexfer::upload_with_retries(
      [&](std::error_code&) { return server.connect(attempt++ < 5 ? 500'000 : 1 << 30); }, source,
      request{"broken"}, at_once, ec);
  CHECK_FALSE(ec);
  CHECK(result.remote_digest == id_of(bytes));
  CHECK(server.connections == 6);
  // Read once to hash it before the second attempt, once to send it, and at each break what was in
  // the pipe, in the buffers of both sides and in the incomplete chunk.
  CHECK(source.bytes_read <
        2 * bytes.size() + 5 * (65536 + 5 * filexfer::detail::usual_chunk_size));
  CHECK(result.bytes < 1'200'000);
}

TEST_CASE("a file that changes between attempts is never stored as a mixture") {
  breaking_server server;
  std::string bytes = noise(300'000);
  filexfer::memory_source source{std::as_bytes(std::span{bytes})};
  int attempt = 0;
  std::error_code ec;
  filexfer::upload_with_retries(
      [&](std::error_code&) {
        bytes[0] ^= 1;  // after the first attempt, and after the source was hashed
        return server.connect(attempt++ == 0 ? 200'000 : 1 << 30);
      },
      source, request{"changing"}, at_once, ec);
  server.join();
  for (const auto& line : entries(server.store)) {
    const auto id = *md5_digest::from_hex(line.substr(0, 32));
    CHECK(id_of(fetch(server.store, id).value()) == id);
  }
  if (!ec) CHECK(entries(server.store).size() == 1);
}

TEST_CASE("errors that would recur are not retried") {
  using filexfer::is_retryable;
  const auto peer = failure_origin::peer;
  for (const auto transient : {errc::busy, errc::shutting_down, errc::timeout, errc::io,
                               errc::no_space, errc::truncated}) {
    CAPTURE(make_error_code(transient).message());
    CHECK(is_retryable(transient, peer));
  }
  for (const auto permanent :
       {errc::bad_name, errc::too_large, errc::read_only, errc::mismatch, errc::superseded,
        errc::malformed_reply, errc::digest_mismatch, errc::wrong_digest_kind}) {
    CAPTURE(make_error_code(permanent).message());
    CHECK_FALSE(is_retryable(permanent, peer));
  }
  CHECK(is_retryable(asio::error::connection_refused, failure_origin::stream));
  CHECK(is_retryable(errc::timed_out, failure_origin::stream));
  CHECK_FALSE(is_retryable(asio::error::operation_aborted, failure_origin::stream));
  CHECK_FALSE(is_retryable(errc::short_source, failure_origin::local));
  CHECK_FALSE(is_retryable({}, failure_origin::none));
}

TEST_CASE("pauses double up to a maximum, and end after a time without progress") {
  for (std::uint32_t seed = 1; seed < 20; ++seed) {
    filexfer::retry_schedule<manual_clock> schedule{{30s, 100ms, 1s}, seed};
    auto max_pause = 100ms;
    for (int i = 0; i < 10;
         ++i, max_pause = std::min(2 * max_pause, std::chrono::milliseconds{1s})) {
      const auto pause = schedule.next().value();
      CHECK(pause >= max_pause / 2);
      CHECK(pause <= max_pause);
    }
    manual_clock::advance(29s);
    schedule.progress();
    CHECK(schedule.next().value() <= 100ms);
    manual_clock::advance(29s);
    CHECK(schedule.next());
    manual_clock::advance(1s);
    CHECK_FALSE(schedule.next());
  }
  filexfer::retry_schedule<manual_clock> once{{0s, 100ms, 1s}, 1};
  CHECK_FALSE(once.next());
}

}  // namespace transfer_tests
