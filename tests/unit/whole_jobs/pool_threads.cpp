// Pools on the real clock with threads: mirrors from one server to another, and work executors.

#include "support/pool_fixture.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/error.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/remote_file.hpp>
#include <filexfer/transfer_pool.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace pool_threads_tests {

using namespace test;
using namespace std::chrono_literals;
using filexfer::errc;
using filexfer::listed_file;
using connector_type = basic_pipe_connector<asio::steady_timer>;
using server_type = basic_pipe_server<asio::steady_timer, memory_store<>>;
using pool_type = filexfer::transfer_pool<connector_type, filexfer::md5>;
using mirrored = filexfer::file_result<filexfer::remote_file<pool_type>>;

namespace {

/// Two servers with a pool each, and a work executor for `to` alone.
struct two_servers {
  explicit two_servers(std::size_t connections = 2)
      : options{.connections = connections, .retry_for = 5s} {
    to.work_executor(work.get_executor());
  }
  ~two_servers() {
    work.join();
    context.poll();
  }

  void fill(pool_type& pool, std::vector<memory_file> files) {
    run([&](auto handler) {
      pool.async_upload(
          files, [](const memory_file_result&) {}, std::move(handler));
    });
    REQUIRE(totals.failed == 0);
  }

  template <class Start>
  void run(Start start) {
    ended.reset();
    context.restart();
    start(asio::bind_cancellation_slot(
        cancel.slot(), [this](std::error_code ec, const filexfer::transfer_totals& t) {
          ended = ec;
          totals = t;
        }));
    while (!ended && context.run_one_for(20s) > 0) {
    }
    REQUIRE(ended);
  }

  void mirror(filexfer::list_request request = {}) { mirror(from, std::move(request)); }
  void mirror(pool_type& source, filexfer::list_request request = {}) {
    failures.clear();
    run([&](auto handler) {
      to.async_mirror(
          source, request,
          [this](const mirrored& r) {
            if (r.failure) failures[r.element.name()] = r.failure;
          },
          std::move(handler));
    });
  }

  asio::io_context context;
  server_type from_server{context};
  server_type to_server{context};
  filexfer::pool_options options;
  pool_type from{connector_type{&from_server}, options};
  pool_type to{connector_type{&to_server}, options};
  asio::cancellation_signal cancel;
  std::optional<std::error_code> ended;
  filexfer::transfer_totals totals;
  std::map<std::string, filexfer::transfer_failure> failures;
  asio::thread_pool work{3};
};

std::vector<memory_file> some_sizes() {
  std::vector<memory_file> files;
  unsigned seed = 0;
  for (const std::size_t size : {0u, 1u, 5000u, 70'000u, 1'048'576u, 1'048'577u, 3'000'000u}) {
    files.push_back({"file of " + std::to_string(size), noise(size, ++seed)});
  }
  return files;
}

}  // namespace

TEST_CASE("a mirror copies each file that the other server lacks once") {
  for (const std::size_t connections : {1u, 4u}) {
    two_servers f{connections};
    const auto files = some_sizes();
    f.fill(f.from, files);
    f.fill(f.to, {files[2], {"else", "something"}});
    f.mirror();
    CHECK(f.ended == std::error_code{});
    CHECK(f.totals.transferred == files.size() - 1);
    CHECK(f.totals.already_present == 1);
    for (const auto& entry : entries(f.from_server.store)) {
      const auto mirrored_entries = entries(f.to_server.store);
      CHECK(std::count(mirrored_entries.begin(), mirrored_entries.end(), entry) == 1);
    }
    f.mirror({.prefix = "file of 1"});
    CHECK(f.totals.transferred == 0);
    CHECK(f.totals.already_present == 3);
  }
}

TEST_CASE("a mirror loses no file when connections break on either side") {
  two_servers f{1};
  f.fill(f.from, some_sizes());
  f.from_server.end_read_after = {2'000'000, 2'000'000};
  f.to_server.break_after = {10'000, 1'500'000, 1'500'000};
  pool_type fresh{connector_type{&f.from_server}, f.options};
  f.mirror(fresh);
  CHECK(f.ended == std::error_code{});
  CHECK(f.totals.failed == 0);
  CHECK(f.totals.transferred == some_sizes().size());
  CHECK(f.from_server.end_read_after.empty());
  CHECK(f.to_server.break_after.empty());
}

TEST_CASE("a mirror retries a small file without blocking the thread that runs its pools") {
  for (std::uint64_t offset = 50; offset < 600; offset += 50) {
    two_servers f{1};
    f.fill(f.from, {{"small", noise(100)}, {"also small", noise(200)}});
    f.to_server.break_after = {offset};
    f.mirror();
    if (f.to_server.connections == 1 && f.ended != std::error_code{}) continue;
    CHECK(f.ended == std::error_code{});
    CHECK(f.totals.transferred + f.totals.already_present == 2);
  }
}

TEST_CASE("a mirror without a work executor, or whose pools share one, is refused") {
  two_servers f;
  f.to.work_executor({});
  f.mirror();
  CHECK(f.ended == std::errc::invalid_argument);
  f.to.work_executor(f.work.get_executor());
  f.from.work_executor(f.work.get_executor());
  f.mirror();
  CHECK(f.ended == std::errc::invalid_argument);
  CHECK(f.from_server.connections == 0);
}

TEST_CASE("a mirror ends with the error of either server that refuses connections") {
  two_servers f;
  f.from_server.limit = 0;
  f.mirror();
  CHECK(f.ended == asio::error::connection_refused);
  f.from_server.limit = 9;
  f.to_server.limit = 0;
  f.mirror();
  CHECK(f.ended == asio::error::connection_refused);
}

TEST_CASE("a mirror ends when it is cancelled at any step") {
  const auto files = some_sizes();
  for (int steps = 0; steps < 400; steps += 23) {
    two_servers f;
    f.fill(f.from, files);
    f.context.restart();
    f.ended.reset();
    f.to.async_mirror(
        f.from, {}, [](const mirrored&) {},
        asio::bind_cancellation_slot(
            f.cancel.slot(),
            [&](std::error_code ec, const filexfer::transfer_totals&) { f.ended = ec; }));
    for (int n = 0; n < steps && !f.ended; ++n) f.context.run_one_for(1s);
    f.cancel.emit(asio::cancellation_type::terminal);
    while (!f.ended && f.context.run_one_for(20s) > 0) {
    }
    REQUIRE(f.ended);
    CHECK((f.ended == std::error_code{} || f.ended == asio::error::operation_aborted));
  }
}

TEST_CASE("a remote source reads and seeks like a file, and reports the server's errors") {
  two_servers f;
  const std::string text = noise(2'500'000);
  f.fill(f.from, {{"file", text}});
  const auto guard = asio::make_work_guard(f.context);
  std::thread running{[&] {
    f.context.restart();
    f.context.run();
  }};
  filexfer::remote_source source{f.from, listed_file{id_of(text), "file", text.size(), {}}};
  const auto read = [&](std::size_t size, std::error_code& ec) {
    std::string bytes(size, '\0');
    const auto count = source.read(std::as_writable_bytes(std::span{bytes}), ec);
    bytes.resize(count);
    return bytes;
  };
  std::error_code ec;
  CHECK(read(10, ec) == text.substr(0, 10));
  CHECK(read(2'000'000, ec) == text.substr(10, 2'000'000));
  source.seek(1'000'000, ec);
  CHECK(read(5, ec) == text.substr(1'000'000, 5));
  CHECK(read(9'000'000, ec) == text.substr(1'000'005));
  CHECK(!ec);
  source.seek(text.size() + 1, ec);
  CHECK(ec == errc::bad_range);
  source.seek(text.size(), ec);
  CHECK(read(1, ec).empty());
  CHECK(!ec);
  filexfer::remote_source missing{f.from, listed_file{id_of("nothing"), "none", 100, {}}};
  std::byte next[1];
  CHECK(missing.read(next, ec) == 0);
  CHECK(ec == errc::not_found);
  filexfer::remote_source longer{f.from, listed_file{id_of(text), "file", text.size() + 1, {}}};
  longer.seek(text.size(), ec);
  CHECK(longer.read(next, ec) == 0);
  CHECK(ec == errc::short_source);
  f.context.stop();
  running.join();
}

TEST_CASE("a context can be destroyed at any step of a job") {
  for (int steps = 0; steps < 100; ++steps) {
    auto files = some_files(12, 300);
    basic_pool_fixture<asio::steady_timer> f{{.connections = 3}};
    f.upload(files);
    f.run_steps(steps);
    f.is_dropped = true;
  }
}

TEST_CASE("no file is lost when a connection breaks while another one looks for work") {
  for (std::uint64_t offset = 60; offset < 1500; offset += 3) {
    CAPTURE(offset);
    basic_pool_fixture<asio::steady_timer> f{{.connections = 2}};
    asio::thread_pool work{2};
    f.pool->work_executor(work.get_executor());
    f.server.break_after = {offset};
    const auto run = [&] {
      const auto deadline = std::chrono::steady_clock::now() + 20s;
      while (!f.ended && std::chrono::steady_clock::now() < deadline) {
        f.context.restart();
        f.context.run_one_for(1s);
      }
      REQUIRE(f.ended);
    };
    auto first = some_files(2);
    f.upload(first);
    run();
    if (f.ended != std::error_code{}) continue;  // the server has never answered
    std::vector<memory_file> last{{"last", noise(50)}};
    f.reports.clear();
    f.upload(last);
    run();
    CHECK(f.ended == std::error_code{});
    CHECK(f.reports["last"] == 1);
    CHECK(f.totals.transferred + f.totals.already_present == 1);
    f.pool.reset();
    work.join();
  }
}

}  // namespace pool_threads_tests
