// A pool's jobs that transfer no files: lists, features, verifying and counting; its progress.

#include "support/pool_fixture.hpp"

#include <filexfer/error.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/transfer_pool.hpp>

#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace pool_queries_tests {

using namespace test;
using namespace std::chrono_literals;
using filexfer::errc;

namespace {

struct query_fixture : pool_fixture {
  using pool_fixture::pool_fixture;

  /// Lists, and returns the job's error.
  std::error_code list(filexfer::list_request request = {}) {
    ended.reset();
    pool->async_list_files(
        std::move(request), [this](const filexfer::listed_file& file) { listed[file.name] = file; },
        asio::bind_cancellation_slot(cancel.slot(), [this](std::error_code ec, std::uint64_t n) {
          ended = ec;
          entries = n;
          failure = pool->last_failure();
        }));
    run();
    return ended.value();
  }

  std::error_code verify(std::vector<memory_file>& files) {
    pool->async_verify(files, on_result(), on_end());
    run();
    return ended.value();
  }

  std::map<std::string, filexfer::listed_file> listed;
  std::uint64_t entries = 0;
  filexfer::transfer_failure failure;
};

/// Does not connect within an hour.
struct stuck_connector : basic_pipe_connector<virtual_timer> {
  template <class Token>
  auto async_connect(Token&& token) {
    return asio::async_initiate<Token, void(std::error_code, stream_type)>(
        [](auto handler, pipe_listener* to) {
          auto timer = std::make_shared<virtual_timer>(to->context.get_executor());
          timer->expires_after(std::chrono::hours{1});
          const auto slot = asio::get_associated_cancellation_slot(handler);
          auto on_wait = [handler = std::move(handler), timer, to](std::error_code ec) mutable {
            auto [unused, other] = filexfer::make_memory_pipe(to->context.get_executor(), 16);
            std::move(handler)(ec, stream_type{std::move(unused), {}});
          };
          timer->async_wait(asio::bind_cancellation_slot(slot, std::move(on_wait)));
        },
        token, server);
  }
};

}  // namespace

TEST_CASE("a pool lists the server's files, and reuses the connection") {
  query_fixture f;
  auto files = some_files(3);
  f.upload(files);
  f.run();
  CHECK(f.list() == std::error_code{});
  CHECK(f.entries == 3);
  CHECK(f.listed.at("file 1").id == filexfer::any_digest{id_of(files[1].text)});
  CHECK(f.listed.at("file 1").size == 100);
  f.listed.clear();
  CHECK(f.list({"file 2"}) == std::error_code{});
  CHECK(f.entries == 1);
  CHECK(f.listed.contains("file 2"));
  CHECK(f.server.connections == 1);
}

TEST_CASE("a list over a connection that broke while idle is retried over another") {
  int broken_while_idle = 0;
  for (std::uint64_t bytes = 240; bytes < 300; ++bytes) {
    CAPTURE(bytes);
    query_fixture f;
    f.server.break_after = {bytes};
    auto files = some_files(2);
    f.upload(files);
    f.run();
    const bool was_whole = f.server.connections == 1;
    CHECK(f.list() == std::error_code{});
    CHECK(f.entries == 2);
    CHECK(f.server.connections <= 2);
    broken_while_idle += was_whole && f.server.connections == 2;
  }
  CHECK(broken_while_idle > 5);
}

TEST_CASE("a list from a server that has never answered reports the reason, and is not retried") {
  query_fixture f;
  f.server.limit = 0;
  CHECK(f.list() == asio::error::connection_refused);
  CHECK(f.failure.phase == filexfer::transfer_phase::connecting);
  f.server.limit = 1;
  f.server.end_read_after = {1};
  CHECK(f.list() != std::error_code{});
  CHECK(f.failure.phase == filexfer::transfer_phase::greeting);
  CHECK(f.list() == std::error_code{});
  CHECK_FALSE(f.failure);
}

TEST_CASE("a list that breaks is retried until its first entry has arrived") {
  int retried = 0;
  int failed = 0;
  for (std::uint64_t bytes = 1;; ++bytes) {
    CAPTURE(bytes);
    query_fixture f;
    for (const memory_file& file : some_files(20))
      CHECK(!put(f.server.store, file.name(), file.text));
    f.server.end_read_after = {bytes};
    const std::error_code ec = f.list();
    if (f.failure.phase == filexfer::transfer_phase::greeting) continue;
    if (f.server.connections == 1 && !ec) break;
    CHECK(f.entries == f.listed.size());  // none was passed on twice
    if (ec) CHECK(f.entries > 0);
    else CHECK(f.entries == 20);
    CHECK(f.events.size() == (ec ? 0 : 1));
    ++(ec ? failed : retried);
  }
  CHECK(retried > 5);
  CHECK(failed > 5);
}

TEST_CASE("verify repeats a list that breaks, for retry_for in all") {
  query_fixture f{{.retry_for = 10s}};
  auto files = some_files(20);
  for (const memory_file& file : files) CHECK(!put(f.server.store, file.name(), file.text));
  const std::uint64_t enough_for_some = 400;
  f.server.end_read_after = {enough_for_some, enough_for_some};
  CHECK(f.verify(files) == std::error_code{});
  CHECK(f.totals.already_present == 20);
  CHECK(f.server.connections == 3);
  f.pool->on_event({});
  f.let_sessions_end();
  f.server.end_read_after.assign(1000, enough_for_some);
  CHECK(f.verify(files) != std::error_code{});
  CHECK(f.server.connections < 20);
}

TEST_CASE("an exception or an error from an entry's callback ends the list") {
  query_fixture f;
  auto files = some_files(2);
  f.upload(files);
  f.run();
  std::optional<std::error_code> ended;
  const auto on_list_end = [&](std::error_code ec, std::uint64_t) { ended = ec; };
  f.pool->async_list_files(
      {}, [](const auto&, std::error_code& ec) { ec = errc::bad_name; }, on_list_end);
  f.context.restart();
  f.context.poll();
  CHECK(ended == errc::bad_name);
  ended.reset();
  f.pool->async_list_files(
      {}, [](const auto&) { throw std::runtime_error{"no"}; }, on_list_end);
  f.context.restart();
  f.context.poll();
  CHECK(ended == errc::store_failed);
}

TEST_CASE("a list ends when it is cancelled at any step") {
  for (int steps = 0;; ++steps) {
    query_fixture f;
    std::optional<std::error_code> ended;
    f.pool->async_list_files(
        {}, [](const auto&) {},
        asio::bind_cancellation_slot(f.cancel.slot(),
                                     [&](std::error_code ec, std::uint64_t) { ended = ec; }));
    f.run_steps(steps);
    if (ended) break;
    f.cancel.emit(asio::cancellation_type::terminal);
    f.context.restart();
    f.context.poll();
    CAPTURE(steps);
    REQUIRE(ended);
    // It succeeds if it was complete before it noticed.
    CHECK((ended == asio::error::operation_aborted || !*ended));
  }
}

TEST_CASE("a server's features are known once it is connected") {
  query_fixture f;
  std::optional<filexfer::server_features> known;
  f.pool->async_features([&](std::error_code ec, filexfer::server_features features) {
    CHECK_FALSE(ec);
    known = std::move(features);
  });
  f.context.poll();
  REQUIRE(known);
  CHECK(known->digest == "md5");
  CHECK(f.server.connections == 1);
  CHECK(f.list() == std::error_code{});
  CHECK(f.server.connections == 1);
}

TEST_CASE("verify reports for each file whether the server has it under its name") {
  query_fixture f;
  auto files = some_files(4);
  f.upload(files);
  f.run();
  f.reports.clear();
  files[1].text += "another end";
  files[2].file_name = "another name";
  files[3].open_error = std::make_error_code(std::errc::permission_denied);
  CHECK(f.verify(files) == std::error_code{});
  CHECK(f.reports.size() == 4);
  CHECK(f.totals.already_present == 1);
  CHECK(f.totals.failed == 3);
  CHECK(f.failures.at("file 1").error == errc::not_found);
  CHECK(f.failures.at("another name").error == errc::not_found);
  CHECK(f.failures.at("another name").origin == filexfer::failure_origin::peer);
  CHECK(f.failures.at("file 3").origin == filexfer::failure_origin::local);
  CHECK(entries(f.server.store).size() == 4);
}

TEST_CASE("verify fails if the list has more entries than max_entries") {
  filexfer::pool_options options;
  options.client.max_entries = 2;
  query_fixture f{options};
  auto files = some_files(3);
  f.upload(files);
  f.run();
  CHECK(f.verify(files) == errc::too_many_entries);
}

TEST_CASE("a count adds all files that can be opened to the progress") {
  query_fixture f;
  auto files = some_files(250, 10);
  files[7].open_error = std::make_error_code(std::errc::permission_denied);
  std::uint64_t count = 0;
  f.pool->async_count(files, [&](std::error_code ec, std::uint64_t n) {
    CHECK_FALSE(ec);
    count = n;
  });
  f.context.poll();
  CHECK(count == 249);
  const auto now = f.pool->progress().now();
  CHECK(now.files_known == 249);
  CHECK(now.bytes_known == 2490);
  CHECK(now.all_known);
  CHECK(f.server.connections == 0);
}

TEST_CASE("progress is reported once per period while there are jobs, and at their end") {
  query_fixture f{{.retry_for = 10s}};
  std::vector<filexfer::transfer_progress::snapshot> snapshots;
  f.pool->on_progress(1s, [&](const auto& now) { snapshots.push_back(now); });
  std::vector<memory_file> files{{"a", "first"}, {"b", "second"}};
  f.upload(files);
  f.run();
  REQUIRE(snapshots.size() == 1);  // no time has passed
  CHECK(snapshots.back().files == 2);
  CHECK(snapshots.back().bytes == 11);
  // Time passes while an unreachable server is retried.
  f.let_sessions_end();
  f.server.limit = 0;
  std::vector<memory_file> more{{"c", "third"}};
  f.upload(more);
  f.run();
  CHECK(f.ended != std::error_code{});
  CHECK(snapshots.size() >= 9);
  CHECK(snapshots.size() <= 16);  // the last pause ends after the ten seconds
  const std::size_t reported = snapshots.size();
  virtual_timer::advance_to_next_expiry();
  f.context.restart();
  f.context.poll();
  CHECK(snapshots.size() == reported);
}

TEST_CASE("connecting has a deadline") {
  asio::io_context context;
  basic_pipe_server<virtual_timer, memory_store<>> server{context};
  filexfer::pool_options options{.connect_timeout = 5s};
  filexfer::transfer_pool<stuck_connector, filexfer::md5> pool{stuck_connector{{&server}}, options};
  const auto started = virtual_timer::clock_type::now();
  std::optional<std::error_code> ended;
  pool.async_features([&](std::error_code ec, const auto&) { ended = ec; });
  while (!ended) {
    context.restart();
    context.poll();
    if (!ended && !virtual_timer::advance_to_next_expiry()) break;
  }
  CHECK(ended == asio::error::timed_out);
  CHECK(virtual_timer::clock_type::now() - started == 5s);
}

}  // namespace pool_queries_tests
