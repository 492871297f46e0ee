// Uploads by a pool, and what all jobs have in common: connections, retries, cancellation.

#include "support/manual_clock.hpp"
#include "support/pool_fixture.hpp"
#include "support/scratch_folder.hpp"
#include "support/store_helpers.hpp"
#include "support/virtual_timer.hpp"

#include <filexfer/directory_store.hpp>
#include <filexfer/error.hpp>
#include <filexfer/transfer_pool.hpp>

#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace transfer_pool_tests {

using namespace test;
using namespace std::chrono_literals;
using filexfer::errc;
using filexfer::failure_origin;

TEST_CASE("all files of a range are stored, and each is reported once") {
  for (const std::size_t connections : {1u, 4u}) {
    for (const std::size_t count : {0u, 1u, 7u, 300u}) {
      CAPTURE(connections);
      CAPTURE(count);
      pool_fixture f{{.connections = connections}};
      auto files = some_files(count);
      f.upload(files);
      f.run();
      CHECK(f.ended == std::error_code{});
      CHECK(f.totals.transferred == count);
      CHECK(f.totals.failed == 0);
      CHECK(f.reports.size() == count);
      CHECK(all_stored(f, files));
      CHECK(f.server.max_open <= connections);
      for (const auto& file : files) CHECK(file.opened == 1);
      for (const auto& [name, times] : f.reports) CHECK(times == 1);
    }
  }
}

TEST_CASE("no connection is made for a job without files") {
  pool_fixture f;
  f.upload(std::vector<memory_file>{});
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.server.connections == 0);
}

TEST_CASE("a job of many files uses further connections") {
  pool_fixture f{{.connections = 4}};
  auto files = some_files(200, 70000);
  f.upload(files);
  f.run();
  CHECK(f.totals.transferred == files.size());
  CHECK(f.server.max_open == 4);
}

TEST_CASE("a server that accepts fewer connections gets all files over those") {
  for (const std::size_t limit : {1u, 3u}) {
    pool_fixture f{{.connections = 8}};
    f.server.limit = limit;
    auto files = some_files(100, 5000);
    f.upload(files);
    f.run();
    CHECK(f.ended == std::error_code{});
    CHECK(f.totals.transferred == files.size());
    CHECK(all_stored(f, files));
    CHECK(f.server.max_open == limit);
    REQUIRE(f.events.size() == 1);
    CHECK(f.events[0].kind == filexfer::pool_event_kind::fewer_connections);
  }
}

TEST_CASE("a connection that breaks at any byte loses no file, and none is reported twice") {
  auto files = some_files(3, 40);
  for (std::uint64_t offset = 0; offset < 700; ++offset) {
    CAPTURE(offset);
    for (auto& file : files) file.opened = 0;
    pool_fixture f;
    f.server.break_after = {1000, offset};
    f.server.break_after.pop_front();
    f.upload(files);
    f.run();
    // A server that has never answered is not retried.
    if (f.server.connections == 1 && f.ended != std::error_code{}) {
      CHECK(f.totals.transferred == 0);
      continue;
    }
    CHECK(f.ended == std::error_code{});
    CHECK(f.totals.transferred + f.totals.already_present == 3);
    CHECK(all_stored(f, files));
    for (const auto& [name, times] : f.reports) CHECK(times == 1);
  }
}

TEST_CASE("a large upload that breaks resends no byte that was received") {
  const scratch_folder folder;
  using store_type = filexfer::directory_store<>;
  basic_pool_fixture<virtual_timer, basic_pipe_server<virtual_timer, store_type>> f{
      {.client = {.max_nowait_size = 1000}}, folder.path() / "store"};
  auto files = some_files(1, 1'000'000);
  // Enough for two and a half connections: resending any of it would take a fourth.
  f.server.break_after = {400'000, 400'000, 400'000};
  f.upload(files);
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.transferred == 1);
  CHECK(f.server.connections == 3);
}

TEST_CASE("a large upload over a reused connection resends no byte that was received") {
  const scratch_folder folder;
  using store_type = filexfer::directory_store<>;
  basic_pool_fixture<virtual_timer, basic_pipe_server<virtual_timer, store_type>> f{
      {.client = {.max_nowait_size = 1000}}, folder.path() / "store"};
  f.server.break_after = {400'000, 400'000, 400'000};
  auto small = some_files(1);
  f.upload(small);
  f.run();
  std::vector<memory_file> large{{"large", noise(1'000'000)}};
  f.upload(large);
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.transferred == 1);
  CHECK(f.server.connections == 3);
}

TEST_CASE("an exception from a callback ends the job") {
  pool_fixture f{{.connections = 2}};
  auto files = some_files(100);
  bool thrown = false;
  f.on_report = [&](const memory_file_result& r) {
    if (!r.failure && !std::exchange(thrown, true)) {
      throw std::system_error{std::make_error_code(std::errc::io_error)};
    }
  };
  f.upload(files);
  f.run();
  CHECK(f.ended == std::make_error_code(std::errc::io_error));
  CHECK(f.reports.size() < files.size());
  for (const auto& [name, times] : f.reports) CHECK(times == 1);
}

TEST_CASE("a file that can't be opened fails alone") {
  pool_fixture f{{.connections = 2}};
  auto files = some_files(9);
  for (const std::size_t n : {0u, 4u, 8u}) files[n].open_error = errc::store_failed;
  f.upload(files);
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.transferred == 6);
  CHECK(f.totals.failed == 3);
  REQUIRE(f.failures.size() == 3);
  for (const auto& [name, failure] : f.failures) {
    CHECK(failure.error == errc::store_failed);
    CHECK(failure.origin == failure_origin::local);
  }
  for (const auto& [name, times] : f.reports) CHECK(times == 1);
}

TEST_CASE("a server that never answered is not retried") {
  pool_fixture f{{.connections = 4}};
  f.server.limit = 0;
  auto files = some_files(5);
  f.upload(files);
  f.run();
  CHECK(f.ended == std::error_code{asio::error::connection_refused});
  CHECK(f.events.empty());
  CHECK(f.totals.transferred == 0);
  CHECK(f.failures.size() == f.totals.failed);
  CHECK(f.failures.at("file 0").phase == filexfer::transfer_phase::connecting);
}

TEST_CASE("a server that stays unreachable ends the job after retry_for") {
  pool_fixture f{{.connections = 2, .retry_for = 10s}};
  auto files = some_files(50, 70000);
  f.server.break_after = {200000, 200000};
  f.on_report = [&](const memory_file_result&) { f.server.limit = 0; };
  const auto start = manual_clock::now();
  f.upload(files);
  f.run();
  CHECK(f.ended == std::error_code{asio::error::connection_refused});
  CHECK(manual_clock::now() - start >= 10s);
  CHECK(f.totals.failed > 0);
  for (const auto& [name, times] : f.reports) CHECK(times == 1);
}

TEST_CASE("a job ends when it is cancelled at any step") {
  for (const auto type : {asio::cancellation_type::terminal, asio::cancellation_type::total}) {
    for (int steps = 0; steps < 150; ++steps) {
      CAPTURE(steps);
      auto files = some_files(12, 300);
      pool_fixture f{{.connections = 3}};
      f.upload(files);
      f.run_steps(steps);
      const bool was_running = !f.ended;
      f.cancel.emit(type);
      f.run();
      REQUIRE(f.ended);
      if (was_running && f.totals.transferred < files.size()) {
        CHECK(*f.ended == std::error_code{asio::error::operation_aborted});
      }
      if (type == asio::cancellation_type::total) CHECK(f.totals.failed == 0);
      for (const auto& [name, times] : f.reports) CHECK(times == 1);
      CHECK(entries(f.server.store).size() >= f.totals.transferred);
    }
  }
}

TEST_CASE("destroying a pool ends its running job") {
  for (int steps = 0; steps < 100; steps += 3) {
    CAPTURE(steps);
    auto files = some_files(12, 300);
    pool_fixture f{{.connections = 3}};
    f.upload(files);
    f.run_steps(steps);
    f.pool.reset();
    f.run();
    CHECK(f.ended);
  }
}

namespace {

/// A single-pass range that makes each element when it is incremented.
struct generator {
  int count;
  int made = 0;
  memory_file current{};

  struct iterator {
    using value_type = memory_file;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;
    generator* range;
    memory_file& operator*() const { return range->current; }
    iterator& operator++() {
      range->make();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return range->made > range->count; }
  };

  void make() {
    if (++made <= count) current = {"f" + std::to_string(made), std::string(10, 'x')};
  }
  iterator begin() {
    make();
    return {this};
  }
  std::default_sentinel_t end() const { return {}; }
};

static_assert(filexfer::upload_elements<generator>);
static_assert(!filexfer::upload_elements<std::vector<std::string>>);

}  // namespace

TEST_CASE("elements of a single-pass range are moved into the job") {
  for (const std::size_t connections : {1u, 3u}) {
    pool_fixture f{{.connections = connections}};
    generator files{5};
    f.upload(files);
    f.run();
    CHECK(f.ended == std::error_code{});
    CHECK(f.totals.transferred == 5);
    CHECK(f.reports.size() == 5);
    CHECK(files.made == 6);
  }
}

TEST_CASE("a job reuses the connections of the one before") {
  pool_fixture f;
  auto files = some_files(3);
  f.upload(files);
  f.run();
  CHECK(f.server.connections == 1);
  auto more = some_files(6);
  f.upload(more);
  f.run();
  CHECK(f.ended == std::error_code{});
  CHECK(f.server.connections == 1);
  CHECK(entries(f.server.store).size() == 6);
}

}  // namespace transfer_pool_tests
