#include "support/proxy_header.hpp"
#include "support/server_fixture.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/connection_counter.hpp>
#include <filexfer/ip_network.hpp>
#include <filexfer/recording_stream.hpp>

#include <asio/buffer.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/use_future.hpp>
#include <asio/write.hpp>
#include <doctest/doctest.h>

#include <cstddef>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace server_proxy_protocol_tests {

using namespace server_tests;
using namespace std::string_literals;
using filexfer::connection_counter;

namespace {

using tcp_peer = peer<tcp>;

const filexfer::ip_network loopback{asio::ip::make_address("127.0.0.0"), 8};

/// Behind proxies on this host.
struct proxied_server : server_fixture<tcp> {
  explicit proxied_server(const server_options& options = {},
                          filexfer::ip_network trusted = loopback)
      : server_fixture<tcp>{options, [&](server_type& s) { s.expect_proxy({trusted}); }} {}

  /// A connection on which a proxy has sent `bytes`, and the server has done what it could.
  std::unique_ptr<tcp_peer> connect_with(std::string_view bytes) {
    auto client = std::make_unique<tcp_peer>(context, endpoint);
    client->send(bytes);
    run_until_idle_or_fail(context);
    return client;
  }

  /// A client at `address`, which was served.
  std::unique_ptr<tcp_peer> connect_from(const std::string& address) {
    auto client = connect_with(proxy_line(address) + "FEATURES\n");
    client->wait_for("\n\n");
    return client;
  }

  std::string address_of(tcp_peer& client) const {
    return filexfer::detail::endpoint_name(client.socket().local_endpoint());
  }

  /// Checks that the proxy's connection was closed without an answer, and one thing was reported.
  void check_closed(tcp_peer& client, std::error_code reason) {
    client.wait_for_end();
    CHECK(client.received().empty());
    REQUIRE(events.size() == 1);
    CHECK(events[0].event.error == reason);
    CHECK(events[0].peer == address_of(client));
  }
};

bool is_busy(const tcp_peer& client) { return client.received().starts_with("ERROR busy "); }

}  // namespace

TEST_CASE("the observer gets the address in the header") {
  proxied_server fixture;
  const std::string command = "LIST_FILES\n";
  for (const auto& [header, address] : std::vector<std::pair<std::string, std::string>>{
           {proxy_line("192.0.2.7"), "192.0.2.7:4711"},
           {"PROXY TCP6 2001:db8::7 ::1 4711 1\r\n", "[2001:db8::7]:4711"},
           {binary_proxy_header(proxy_command, proxy_tcp4, proxied_tcp4), "192.0.2.7:4711"},
           {binary_proxy_header(proxy_command, proxy_tcp6, proxied_tcp6 + std::string(4060, '\0')),
            "[2001:db8::7]:4711"}}) {
    fixture.events.clear();
    const auto client = fixture.connect_with(header + command);
    client->wait_for(empty_list);
    REQUIRE(fixture.events.size() == 1);
    CHECK(fixture.events[0].peer == address);
    CHECK(fixture.events[0].event.verb == filexfer::command::list_files);
  }
}

TEST_CASE("without an address in the header, the connection's own counts") {
  proxied_server fixture;
  for (const auto& header :
       {"PROXY UNKNOWN\r\n"s, binary_proxy_header(proxy_local, proxy_tcp4, proxied_tcp4),
        binary_proxy_header(proxy_command, 0x00, ""),
        binary_proxy_header(proxy_command, proxy_unix, std::string(216, '/'))}) {
    fixture.events.clear();
    const auto client = fixture.connect_with(header + "LIST_FILES\n");
    client->wait_for(empty_list);
    REQUIRE(fixture.events.size() == 1);
    CHECK(fixture.events[0].peer == fixture.address_of(*client));
  }
}

TEST_CASE("the authorizer gets the address in the header, not that of the proxy") {
  std::vector<std::string> asked;
  server_fixture<tcp> fixture{
      {}, [&](auto& server) {
        server.expect_proxy({loopback});
        server.authorize([&](const filexfer::peer_identity& peer, const filexfer::access_request&,
                             const filexfer::access_answer& answer) {
          asked.push_back(peer.address);
          answer(errc::denied);
        });
      }};
  auto client = fixture.connect();
  client.send(proxy_line("192.0.2.7") + "LIST_FILES\n");
  client.wait_for("ERROR denied ");
  REQUIRE(asked.size() == 1);
  CHECK(asked[0] == "192.0.2.7:4711");
}

TEST_CASE("limits per address are those of the addresses in the headers") {
  proxied_server fixture{{.max_connections_per_address = 1}};
  const auto first = fixture.connect_from("192.0.2.7");
  const auto second = fixture.connect_from("192.0.2.8");
  const auto third = fixture.connect_with(proxy_line("192.0.2.7"));
  third->wait_for_end();
  CHECK(is_busy(*third));
  CHECK(fixture.events.back().peer == "192.0.2.7:4711");
  CHECK(fixture.events.back().event.error == errc::busy);
  first->close();
  run_until_idle_or_fail(fixture.context);
  fixture.connect_from("192.0.2.7");
}

TEST_CASE("the rate of connections is that of the addresses in the headers") {
  proxied_server fixture{{.max_connection_rate = 1}};
  for (int i = 0; i < 10; ++i) fixture.connect_from("192.0.2.7")->close();
  const auto over = fixture.connect_with(proxy_line("192.0.2.7"));
  over->wait_for_end();
  CHECK(is_busy(*over));
  fixture.connect_from("192.0.2.8");
}

TEST_CASE("behind a proxy on this host, the default limits apply to clients elsewhere") {
  proxied_server fixture;
  std::vector<std::unique_ptr<tcp_peer>> clients;
  for (std::size_t i = 0; i < filexfer::default_connections_per_address; ++i) {
    clients.push_back(fixture.connect_from("192.0.2.7"));
  }
  const auto over = fixture.connect_with(proxy_line("192.0.2.7"));
  over->wait_for_end();
  CHECK(is_busy(*over));
  for (std::size_t i = 0; i < filexfer::default_connections_per_address + 1; ++i) {
    clients.push_back(fixture.connect_from("127.0.0.1"));  // a client on this host
  }
}

TEST_CASE("a connection from an address that is not trusted is closed, whatever it sends") {
  proxied_server fixture{{}, asio::ip::make_address("127.0.0.2")};
  const auto stranger = fixture.connect_with(proxy_line("127.0.0.2") + "LIST_FILES\n");
  fixture.check_closed(*stranger, errc::untrusted_proxy);
  tcp_peer proxy{fixture.context, fixture.endpoint, {asio::ip::make_address("127.0.0.2"), 0}};
  proxy.send(proxy_line("192.0.2.7") + "LIST_FILES\n");
  proxy.wait_for(empty_list);
}

TEST_CASE("a connection that does not begin with a header is closed") {
  for (const auto& bytes : {"LIST_FILES\n"s, "\x16\x03\x01\x02"s, "PROXY TCP4 a b c d\r\n"s,
                            binary_proxy_header(proxy_command, 0x12, proxied_tcp4),
                            binary_proxy_header(proxy_local, 0x00, std::string(4097, ' '))}) {
    proxied_server fixture;
    auto client = fixture.connect_with(bytes);
    fixture.check_closed(*client, errc::bad_proxy_header);
    fixture.connect_from("192.0.2.7");
  }
}

TEST_CASE("a connection that ends within the header is closed") {
  const std::string header = binary_proxy_header(proxy_command, proxy_tcp4, proxied_tcp4);
  for (std::size_t size = 1; size < header.size(); ++size) {
    proxied_server fixture;
    const auto client = fixture.connect_with(std::string_view{header}.substr(0, size));
    client->socket().shutdown(tcp::socket::shutdown_send);
    fixture.check_closed(*client, errc::truncated);
  }
}

TEST_CASE("a header that has not arrived within the line's deadline is too late") {
  for (const auto& start : {""s, "P"s, "PROXY TCP4 192.0.2.7 "s}) {
    proxied_server fixture;
    const auto client = fixture.connect_with("");
    virtual_timer::advance(30s);
    client->send(start);  // no byte extends the deadline
    run_until_idle_or_fail(fixture.context);
    virtual_timer::advance(30s - 1ms);
    run_until_idle_or_fail(fixture.context);
    CHECK_FALSE(client->ended());
    CHECK(fixture.events.empty());
    virtual_timer::advance(1ms);
    fixture.check_closed(*client, errc::timed_out);
  }
}

TEST_CASE("the line's deadline begins anew behind the header") {
  proxied_server fixture;
  const auto client = fixture.connect_with("");
  virtual_timer::advance(59s);
  client->send(proxy_line("192.0.2.7"));
  run_until_idle_or_fail(fixture.context);
  virtual_timer::advance(59s);
  run_until_idle_or_fail(fixture.context);
  client->send("LIST_FILES\n");
  client->wait_for(empty_list);
}

TEST_CASE("a proxy that only checks whether the server is up is not reported") {
  proxied_server fixture;
  const std::size_t before = open_descriptors();
  fixture.connect_with("")->close();
  fixture.connect_with("")->reset();
  // One that sends a header first disconnects before its first command, as any client may.
  fixture.connect_with(binary_proxy_header(proxy_local, 0x00, ""))->close();
  run_until_idle_or_fail(fixture.context);
  CHECK(open_descriptors() == before);
  CHECK(fixture.events.empty());
}

TEST_CASE("a header that arrives byte by byte leaves all that follows it to the session") {
  for (const auto& header :
       {proxy_line("192.0.2.7"), binary_proxy_header(proxy_command, proxy_tcp6, proxied_tcp6)}) {
    proxied_server fixture;
    const auto client = fixture.connect_with("");
    for (const char byte : header + "LIST_FILES\n") {
      client->send({&byte, 1});
      run_until_idle_or_fail(fixture.context);
    }
    client->wait_for(empty_list);
  }
}

TEST_CASE(
    "connections that wait for their header delay no others, and no more than may be served") {
  proxied_server fixture{{.max_connections = 2}};
  auto waiting = fixture.connect_with("");
  const auto other = fixture.connect_with("PROXY ");
  const auto over = fixture.connect_with("");
  fixture.check_closed(*over, errc::busy);
  waiting->send("PROXY UNKNOWN\r\nFEATURES\n");
  waiting->wait_for("\n\n");  // one is served, and one waits
  const auto served = fixture.connect_from("192.0.2.7");
  const auto rejected = fixture.connect_with(proxy_line("192.0.2.8"));
  rejected->wait_for_end();
  CHECK(is_busy(*rejected));
  CHECK_FALSE(other->ended());
  served->close();
  run_until_idle_or_fail(fixture.context);
  other->send("UNKNOWN\r\nFEATURES\n");
  other->wait_for("\n\n");
}

TEST_CASE("a connection whose header has not arrived counts nowhere else") {
  const auto counter = std::make_shared<connection_counter>();
  proxied_server fixture{{.counter = counter}};
  const auto waiting = fixture.connect_with("PROXY TCP4 ");
  CHECK(counter->connections() == 0);
  waiting->send("192.0.2.7 192.0.2.1 1 1\r\n");
  run_until_idle_or_fail(fixture.context);
  CHECK(counter->connections() == 1);
}

TEST_CASE("a stopping server ends connections that wait for their header at once") {
  proxied_server fixture;
  const auto silent = fixture.connect_with("");
  const auto partial = fixture.connect_with("PROXY TCP4 192.0.2.7 ");
  const std::size_t before = open_descriptors();
  expected_call<void(std::error_code)> stopped;
  stop(*fixture.server, stopped);
  run_until(fixture.context, [&] { return stopped.called(); });
  CHECK(open_descriptors() == before - 3);  // the acceptor's, too
  CHECK_FALSE(virtual_timer::any_waits());
  silent->wait_for_end();
  partial->wait_for_end();
  CHECK(silent->received().empty());
  CHECK(fixture.events.empty());
}

TEST_CASE("destroying a server ends connections that wait for their header at once") {
  const std::size_t before = open_descriptors();
  {
    proxied_server fixture;
    const auto silent = fixture.connect_with("");
    const auto partial = fixture.connect_with("PROXY TCP4 192.0.2.7 ");
    fixture.server.reset();
    silent->wait_for_end();
    partial->wait_for_end();
    run_until_idle_or_fail(fixture.context);
    CHECK_FALSE(virtual_timer::any_waits());
    CHECK(fixture.events.empty());
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE(
    "destroying a context with connections that wait for their header leaves no descriptors") {
  const std::size_t before = open_descriptors();
  memory_store<> store;
  {
    asio::io_context context;
    filexfer::server<tcp, memory_store<>> server{
        context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
    server.expect_proxy({loopback});
    server.start();
    tcp_peer silent{context, server.local_endpoint()};
    tcp_peer partial{context, server.local_endpoint()};
    partial.send("PROXY TCP4 192.0.2.7 ");
    run_until_idle_or_fail(context);
  }
  CHECK(open_descriptors() == before);
}

TEST_CASE("a server that is stopped while a header arrives serves it, or ends the connection") {
  for (int handlers = 0; handlers < 30; ++handlers) {
    proxied_server fixture;
    const auto client = fixture.connect_with("");
    client->send(proxy_line("192.0.2.7"));
    for (int i = 0; i < handlers; ++i) fixture.context.poll_one();
    expected_call<void(std::error_code)> stopped;
    stop(*fixture.server, stopped);
    client->wait_for_end();
    client->close();
    run_until(fixture.context, [&] { return stopped.called(); });
    CHECK(fixture.events.empty());
  }
}

TEST_CASE("on several threads, all connections end when the server stops while headers arrive") {
  for (int round = 0; round < 20; ++round) {
    memory_store<> store;
    asio::io_context context;
    const tcp::endpoint any_port{asio::ip::address_v4::loopback(), 0};
    filexfer::server<tcp, memory_store<>> server{context.get_executor(), any_port, store};
    server.expect_proxy({loopback});
    server.start();
    auto guard = std::make_optional(asio::make_work_guard(context));
    std::vector<std::thread> threads;
    threads.reserve(3);
    for (int i = 0; i < 3; ++i) threads.emplace_back([&] { context.run(); });

    asio::io_context client_context;
    std::vector<tcp::socket> clients;
    std::error_code ignored;  // the server may have ended the connection
    for (int i = 0; i < 16; ++i) {
      clients.emplace_back(client_context).connect(server.local_endpoint());
      asio::write(clients.back(), asio::buffer("PROXY UNKN"s), ignored);
    }
    std::future<void> stopped;
    for (std::size_t i = 0; i < clients.size(); ++i) {
      if (i == clients.size() / 2) stopped = server.async_stop(asio::use_future);
      asio::write(clients[i], asio::buffer("OWN\r\nLIST_FILES\n"s), ignored);
    }
    for (tcp::socket& client : clients) {
      std::string received;
      asio::read(client, asio::dynamic_buffer(received), ignored);  // until its end
      client.close();
    }
    CHECK(stopped.wait_for(60s) == std::future_status::ready);
    guard.reset();
    for (std::thread& thread : threads) thread.join();
  }
}

TEST_CASE("a stream is made once the header has arrived, and does not see it") {
  using stream = filexfer::recording_stream<tcp::socket>;
  memory_store<> store;
  asio::io_context context;
  using server_type = filexfer::server<tcp, memory_store<>, filexfer::md5, virtual_timer, stream>;
  const tcp::endpoint any_port{asio::ip::address_v4::loopback(), 0};
  std::optional<server_type> server{std::in_place, context.get_executor(), any_port, store};
  std::size_t made = 0;
  server->wrap([&](tcp::socket socket) {
    if (++made == 1) throw std::runtime_error{"no stream"};
    return stream{std::move(socket)};
  });
  std::vector<observed> events;
  server->observe([&](const std::string& name, const session_event& event) {
    events.push_back({name, event});
  });
  server->expect_proxy({loopback});
  server->start();
  tcp_peer failing{context, server->local_endpoint()};
  failing.send("PROXY TCP4 192.0.2.7 ");
  run_until_idle_or_fail(context);
  CHECK(made == 0);
  failing.send("192.0.2.1 1 1\r\n");
  failing.wait_for_end();
  REQUIRE(events.size() == 1);
  CHECK(events[0].event.error == errc::store_failed);
  CHECK(events[0].peer == "192.0.2.7:1");
  tcp_peer next{context, server->local_endpoint()};
  next.send("PROXY UNKNOWN\r\nLIST_FILES\n");
  next.wait_for(empty_list);
  CHECK(made == 2);
  server.reset();
  run_until_idle_or_fail(context);
}

}  // namespace server_proxy_protocol_tests
