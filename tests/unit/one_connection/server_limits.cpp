#include "support/server_fixture.hpp"

#include <filexfer/detail/stream/listen.hpp>
#include <filexfer/connection_counter.hpp>

#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

namespace server_limits_tests {

using namespace server_tests;
using filexfer::connection_counter;

namespace {

/// Options of servers that count together.
server_options shared(server_options options) {
  options.counter = std::make_shared<connection_counter>();
  return options;
}

/// A further server, in the context of a fixture.
template <class Protocol>
struct further_server {
  template <class Fixture>
  further_server(Fixture& fixture, const server_options& options)
      : context{fixture.context},
        server{context.get_executor(), any_endpoint<Protocol>(folder), fixture.store, options} {
    server.start();
  }

  peer<Protocol> connect() { return {context, server.local_endpoint()}; }

  asio::io_context& context;
  scratch_folder folder;
  filexfer::server<Protocol, memory_store<>, filexfer::md5, virtual_timer> server;
};

template <class Protocol>
bool is_rejected(peer<Protocol>& client) {
  client.send("LIST_FILES\n");
  run_until(client.context(), [&] { return !client.received().empty() || client.ended(); });
  return client.received().starts_with("ERROR busy ");
}

TEST_CASE("servers with one counter keep to a common limit on connections") {
  const server_options options = shared({.max_connections = 2});
  server_fixture<tcp> fixture{options};
  further_server<local> other{fixture, options};
  const auto first = fixture.connect_served();
  auto second = other.connect();
  CHECK_FALSE(is_rejected(second));
  auto third = other.connect();
  CHECK(is_rejected(third));
  auto fourth = fixture.connect();
  CHECK(is_rejected(fourth));
  CHECK(options.counter->connections() == 2);
  second.close();
  run_until_idle_or_fail(fixture.context);
  fixture.connect_served();
}

TEST_CASE("servers with one counter keep to a common limit on connections per address") {
  const server_options options = shared({.max_connections_per_address = 1});
  server_fixture<tcp> fixture{options};
  further_server<tcp> other{fixture, options};
  auto first = fixture.connect_served();
  auto second = other.connect();
  CHECK(is_rejected(second));
  first->close();
  run_until_idle_or_fail(fixture.context);
  auto third = other.connect();
  CHECK_FALSE(is_rejected(third));
  auto fourth = fixture.connect();
  CHECK(is_rejected(fourth));
}

TEST_CASE("servers without a common counter count their own connections") {
  const server_options options{.max_connections = 1};
  server_fixture<tcp> fixture{options};
  further_server<tcp> other{fixture, options};
  const auto first = fixture.connect_served();
  auto second = other.connect();
  CHECK_FALSE(is_rejected(second));
}

TEST_CASE("a server that is destroyed releases its connections at the common counter") {
  const server_options options = shared({.max_connections = 1});
  server_fixture<tcp> fixture{options};
  {
    further_server<tcp> other{fixture, options};
    auto first = other.connect();
    CHECK_FALSE(is_rejected(first));
  }
  run_until_idle_or_fail(fixture.context);
  CHECK(options.counter->connections() == 0);
  fixture.connect_served();
}

TEST_CASE("a context that is destroyed releases its connections at the common counter") {
  const server_options options = shared({.max_connections = 1});
  {
    memory_store<> store;
    asio::io_context context;
    filexfer::server<tcp, memory_store<>> server{
        context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store, options};
    server.start();
    peer<tcp> first{context, server.local_endpoint()};
    CHECK_FALSE(is_rejected(first));
  }
  CHECK(options.counter->connections() == 0);
}

TEST_CASE("an address that opens connections faster than its rate is rejected until time passes") {
  server_fixture<tcp> fixture{{.max_connection_rate = 1}};
  const auto open = [&](const tcp::endpoint& from) {
    auto client = std::make_unique<peer<tcp>>(fixture.context, fixture.endpoint, from);
    const bool rejected = is_rejected(*client);
    client->close();
    run_until_idle_or_fail(fixture.context);
    return !rejected;
  };
  const tcp::endpoint address{asio::ip::make_address("127.0.0.2"), 0};
  const tcp::endpoint other{asio::ip::make_address("127.0.0.3"), 0};
  for (int i = 0; i < 10; ++i) CHECK(open(address));
  CHECK_FALSE(open(address));
  CHECK(open(other));
  virtual_timer::advance(1s);
  CHECK(open(address));
  CHECK_FALSE(open(address));
}

TEST_CASE_TEMPLATE("neither the defaults nor Unix sockets limit local peers", P, tcp, local) {
  server_options options = shared({});
  if constexpr (std::is_same_v<P, local>) {
    options.max_connections_per_address = 1;
    options.max_connection_rate = 0;
  }
  server_fixture<P> fixture{options};
  std::vector<std::unique_ptr<peer<P>>> clients;
  for (std::size_t i = 0; i < filexfer::default_connections_per_address + 10; ++i) {
    clients.push_back(fixture.connect_served());
  }
  CHECK(options.counter->connections() == clients.size());
}

std::string counted(const char* address) {
  return filexfer::detail::counted_address(tcp::endpoint{asio::ip::make_address(address), 9});
}

bool is_loopback(const char* address) {
  return filexfer::detail::is_loopback(tcp::endpoint{asio::ip::make_address(address), 9});
}

TEST_CASE("IPv4 addresses are counted each, and IPv6 addresses by their network of 64 bits") {
  CHECK(counted("192.0.2.1") == counted("192.0.2.1"));
  CHECK(counted("192.0.2.1") != counted("192.0.2.2"));
  CHECK(counted("192.0.2.1") == counted("::ffff:192.0.2.1"));
  CHECK(counted("::ffff:192.0.2.1") != counted("::ffff:192.0.2.2"));
  CHECK(counted("2001:db8::1") == counted("2001:db8::ffff:ffff:ffff:ffff"));
  CHECK(counted("2001:db8::1") != counted("2001:db8:0:1::1"));
  CHECK(counted("::1") != counted("127.0.0.1"));
}

TEST_CASE("only addresses of this host are loopback addresses") {
  for (const auto* address : {"127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"}) {
    CHECK(is_loopback(address));
  }
  for (const auto* address : {"192.0.2.1", "::2", "::ffff:192.0.2.1", "2001:db8::1", "fe80::1"}) {
    CHECK_FALSE(is_loopback(address));
  }
}

}  // namespace

}  // namespace server_limits_tests
