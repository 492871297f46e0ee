#include "support/server_fixture.hpp"

#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#include <sys/socket.h>

namespace server_unix_socket_tests {

using namespace server_tests;

namespace {

/// A path for a Unix socket, and what a server on it needs.
struct unix_socket_fixture {
  using server_type = filexfer::server<local, memory_store<>>;

  /// Starts a server, and sends it a command; returns the error of starting it.
  std::error_code serve() {
    try {
      server_type server{context.get_executor(), endpoint, store};
      server.start();
      run_until_idle_or_fail(context);
      peer<local> client{context, endpoint};
      client.send("LIST_FILES\n");
      client.wait_for(empty_list);
    } catch (const std::system_error& e) {
      run_until_idle_or_fail(context);
      return e.code();
    }
    run_until_idle_or_fail(context);
    return {};
  }

  scratch_folder folder;
  local::endpoint endpoint{(folder / "socket").string()};
  memory_store<> store;
  asio::io_context context;
};

}  // namespace

TEST_CASE("a stale Unix socket is replaced") {
  unix_socket_fixture fixture;
  { const local::acceptor stale{fixture.context, fixture.endpoint}; }
  REQUIRE(std::filesystem::is_socket(fixture.endpoint.path()));
  CHECK_FALSE(fixture.serve());
}

TEST_CASE("a Unix socket that has a listener is not replaced") {
  unix_socket_fixture fixture;
  local::acceptor listener{fixture.context, fixture.endpoint};
  CHECK(fixture.serve() == asio::error::address_in_use);
  local::socket client{fixture.context};
  client.connect(fixture.endpoint);  // to the first listener
  CHECK_NOTHROW(listener.accept());
}

TEST_CASE("a Unix socket whose listener's backlog is full is not replaced, nor waited for") {
  unix_socket_fixture fixture;
  local::acceptor listener{fixture.context, fixture.endpoint.protocol()};
  listener.bind(fixture.endpoint);
  listener.listen(0);
  std::vector<local::socket> backlog;
  for (std::error_code full; !full;) {
    auto& next = backlog.emplace_back(fixture.context, fixture.endpoint.protocol());
    next.native_non_blocking(true);
    if (::connect(next.native_handle(), fixture.endpoint.data(),
                  static_cast<socklen_t>(fixture.endpoint.size())) != 0) {
      full = {errno, std::system_category()};
    }
  }
  CHECK(fixture.serve() == asio::error::address_in_use);
  CHECK(std::filesystem::is_socket(fixture.endpoint.path()));
}

TEST_CASE("a file that is not a socket is not replaced") {
  unix_socket_fixture fixture;
  write_file(fixture.endpoint.path(), "precious");
  CHECK(fixture.serve() == asio::error::address_in_use);
  CHECK(contents(fixture.endpoint.path()) == "precious");
  std::filesystem::remove(fixture.endpoint.path());
  {
    const local::acceptor stale{fixture.context,
                                local::endpoint{(fixture.folder / "other").string()}};
  }
  std::filesystem::create_symlink("other", fixture.endpoint.path());
  CHECK(fixture.serve() == asio::error::address_in_use);
  CHECK(std::filesystem::is_symlink(fixture.endpoint.path()));
}

TEST_CASE("a Unix socket is removed when its server stops, and when it is destroyed") {
  unix_socket_fixture fixture;
  CHECK_FALSE(fixture.serve());
  CHECK_FALSE(std::filesystem::exists(fixture.endpoint.path()));
  unix_socket_fixture::server_type server{fixture.context.get_executor(), fixture.endpoint,
                                          fixture.store};
  server.start();
  CHECK(std::filesystem::is_socket(fixture.endpoint.path()));
  expected_call<void(std::error_code)> stopped;
  stop(server, stopped);
  run_until_idle_or_fail(fixture.context);
  CHECK(stopped.called());
  CHECK_FALSE(std::filesystem::exists(fixture.endpoint.path()));
}

TEST_CASE("a server does not remove a socket file that another listener has put in its place") {
  unix_socket_fixture fixture;
  {
    const unix_socket_fixture::server_type server{fixture.context.get_executor(), fixture.endpoint,
                                                  fixture.store};
    std::filesystem::rename(fixture.endpoint.path(), fixture.endpoint.path() + ".old");
    const local::acceptor another{fixture.context, fixture.endpoint};
  }
  CHECK(std::filesystem::is_socket(fixture.endpoint.path()));
}

TEST_CASE(
    "of several servers that start at the same time on one stale socket, exactly one gets it") {
  for (int round = 0; round < 50; ++round) {
    unix_socket_fixture fixture;
    { const local::acceptor stale{fixture.context, fixture.endpoint}; }
    std::array<std::unique_ptr<unix_socket_fixture::server_type>, 4> servers;
    std::array<std::thread, 4> starting;
    for (std::size_t i = 0; i < servers.size(); ++i) {
      starting[i] = std::thread{[&fixture, &server = servers[i]] {
        try {
          server = std::make_unique<unix_socket_fixture::server_type>(
              fixture.context.get_executor(), fixture.endpoint, fixture.store);
        } catch (const std::system_error&) {
        }
      }};
    }
    for (auto& thread : starting) thread.join();
    CHECK(std::count(servers.begin(), servers.end(), nullptr) == 3);
    local::socket client{fixture.context};
    CHECK_NOTHROW(client.connect(fixture.endpoint));
  }
}

TEST_CASE("a server that was never started can be stopped, and leaves no socket file") {
  unix_socket_fixture fixture;
  unix_socket_fixture::server_type server{fixture.context.get_executor(), fixture.endpoint,
                                          fixture.store};
  expected_call<void(std::error_code)> stopped;
  stop(server, stopped);
  run_until_idle_or_fail(fixture.context);
  CHECK(stopped.called());
  CHECK_FALSE(std::filesystem::exists(fixture.endpoint.path()));
}

}  // namespace server_unix_socket_tests
