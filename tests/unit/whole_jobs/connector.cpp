#include "support/once_handler.hpp"
#include "support/scratch_folder.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/connector.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/server.hpp>
#include <filexfer/transfer_pool.hpp>

#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>
#include <doctest/doctest.h>

#include <atomic>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace connector_tests {

using asio::ip::tcp;
using local = asio::local::stream_protocol;

namespace {

struct tcp_listener {
  explicit tcp_listener(asio::io_context& context)
      : acceptor{context, {asio::ip::address_v4::loopback(), 0}} {}
  std::string port() const { return std::to_string(acceptor.local_endpoint().port()); }
  tcp::acceptor acceptor;
};

}  // namespace

TEST_CASE(
    "a TCP connector connects to names and addresses, twice at once, and not inside the call") {
  asio::io_context context;
  tcp_listener listener{context};
  for (const char* host : {"127.0.0.1", "localhost"}) {
    CAPTURE(host);
    filexfer::tcp_connector connector{context.get_executor(), host, listener.port()};
    test::expected_call<void(std::error_code, tcp::socket)> first;
    test::expected_call<void(std::error_code, tcp::socket)> second;
    first.start([&](auto handler) { connector.async_connect(std::move(handler)); });
    second.start([&](auto handler) { connector.async_connect(std::move(handler)); });
    context.restart();
    context.run();
    for (auto* call : {&first, &second}) {
      const auto& [ec, socket] = call->result();
      CHECK(!ec);
      tcp::no_delay set;
      socket.get_option(set);
      CHECK(set.value());
    }
  }
}

TEST_CASE("a TCP connector reports why it can't connect") {
  asio::io_context context;
  std::string port;
  {
    const tcp_listener closed{context};
    port = closed.port();
  }
  filexfer::tcp_connector connector{context.get_executor(), "127.0.0.1", port};
  test::expected_call<void(std::error_code, tcp::socket)> call;
  call.start([&](auto handler) { connector.async_connect(std::move(handler)); });
  context.run();
  CHECK(std::get<0>(call.result()) == asio::error::connection_refused);
}

TEST_CASE("a TCP connector that is cancelled completes with operation_aborted") {
  asio::io_context context;
  tcp_listener listener{context};
  asio::cancellation_signal cancel;
  filexfer::tcp_connector connector{context.get_executor(), "localhost", listener.port()};
  test::expected_call<void(std::error_code, tcp::socket)> call;
  call.cancelled_by(cancel.slot());
  call.start([&](auto handler) { connector.async_connect(std::move(handler)); });
  cancel.emit(asio::cancellation_type::terminal);
  context.run();
  CHECK(std::get<0>(call.result()) == asio::error::operation_aborted);
}

TEST_CASE("a Unix socket connector connects, or reports why it can't") {
  const test::scratch_folder folder;
  const std::string path = (folder.path() / "socket").string();
  asio::io_context context;
  local::acceptor acceptor{context, local::endpoint{path}};
  struct attempt {
    std::string path;
    std::error_code expected;
  };
  for (const attempt& attempted :
       {attempt{path, {}},
        attempt{path + "x", std::make_error_code(std::errc::no_such_file_or_directory)},
        attempt{std::string(500, 'x'), std::make_error_code(std::errc::filename_too_long)}}) {
    CAPTURE(attempted.path);
    filexfer::unix_connector connector{context.get_executor(), attempted.path};
    test::expected_call<void(std::error_code, local::socket)> call;
    call.start([&](auto handler) { connector.async_connect(std::move(handler)); });
    context.restart();
    context.run();
    CHECK(std::get<0>(call.result()).value() == attempted.expected.value());
  }
}

// ----------------------------------------------------------------------------------- with the pool

namespace {

struct upload {
  std::string file_name;
  std::string text;
  const std::string& name() const noexcept { return file_name; }
  filexfer::memory_source open(std::error_code& ec) const {
    ec.clear();
    return filexfer::memory_source{text};
  }
};

}  // namespace

TEST_CASE("a pool of four connections over TCP, four threads and a work executor moves all files") {
  asio::io_context context;
  auto guard = std::make_optional(asio::make_work_guard(context));
  asio::thread_pool work{2};
  filexfer::memory_store<> store;
  std::optional<filexfer::server<tcp, filexfer::memory_store<>>> server;
  server.emplace(context.get_executor(), tcp::endpoint{asio::ip::address_v4::loopback(), 0}, store);
  server->work_executor(work.get_executor());
  server->start();
  std::vector<std::thread> threads;
  for (int n = 0; n < 4; ++n) threads.emplace_back([&] { context.run(); });

  std::vector<upload> files;
  for (unsigned n = 0; n < 200; ++n) {
    files.push_back({"f" + std::to_string(n), test::noise(n * 1000, n)});
  }
  std::optional<filexfer::transfer_pool<filexfer::tcp_connector, filexfer::md5>> pool;
  const std::string port = std::to_string(server->local_endpoint().port());
  pool.emplace(filexfer::tcp_connector{context.get_executor(), "127.0.0.1", port},
               filexfer::pool_options{.connections = 4});
  pool->work_executor(work.get_executor());
  std::atomic<int> callbacks_at_once{0};
  std::atomic<bool> overlapped{false};
  const auto on_result = [&](const filexfer::file_result<upload>& r) {
    if (++callbacks_at_once > 1 || !r) overlapped = true;
    --callbacks_at_once;
  };
  const auto totals = pool->async_upload(files, on_result, asio::use_future).get();
  pool.reset();
  server->async_stop(asio::use_future).get();
  guard.reset();
  for (auto& t : threads) t.join();
  server.reset();
  work.join();
  CHECK(totals.transferred == files.size());
  CHECK(totals.failed == 0);
  CHECK(!overlapped);
  CHECK(test::entries(store).size() == files.size());
}

}  // namespace connector_tests
