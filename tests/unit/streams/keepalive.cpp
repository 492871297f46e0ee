#include <filexfer/detail/stream/keepalive.hpp>
#include <filexfer/any_stream.hpp>
#include <filexfer/connector.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/server.hpp>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/socket_base.hpp>
#include <asio/steady_timer.hpp>
#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace keepalive_tests {

using asio::ip::tcp;

namespace {

int tcp_option(tcp::socket& socket, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  ::getsockopt(socket.native_handle(), IPPROTO_TCP, name, &value, &size);
  return value;
}

void check_options(tcp::socket& socket) {
  asio::socket_base::keep_alive keep_alive;
  socket.get_option(keep_alive);
  CHECK(keep_alive.value());
  tcp::no_delay no_delay;
  socket.get_option(no_delay);
  CHECK(no_delay.value());
#if defined(__linux__)
  CHECK(tcp_option(socket, TCP_KEEPIDLE) == 60);
  CHECK(tcp_option(socket, TCP_KEEPINTVL) == 15);
  CHECK(tcp_option(socket, TCP_KEEPCNT) == 4);
  CHECK(tcp_option(socket, TCP_USER_TIMEOUT) == 120'000);
#endif
}

}  // namespace

TEST_CASE("both ends of a TCP connection notice within two minutes that the peer is gone") {
  using filexfer::any_stream;
  asio::io_context context;
  filexfer::memory_store<> store;
  filexfer::server<tcp, filexfer::memory_store<>, filexfer::md5, asio::steady_timer, any_stream>
      server{context.get_executor(), {asio::ip::address_v4::loopback(), 0}, store};
  int checked = 0;
  server.wrap([&](tcp::socket accepted) {
    check_options(accepted);
    ++checked;
    return any_stream{std::move(accepted)};
  });
  server.start();
  filexfer::tcp_connector connector{context.get_executor(), "127.0.0.1",
                                    std::to_string(server.local_endpoint().port())};
  std::optional<tcp::socket> connected;  // stays open until the server has looked at its end
  connector.async_connect([&](std::error_code ec, tcp::socket socket) {
    REQUIRE(!ec);
    check_options(socket);
    connected.emplace(std::move(socket));
    ++checked;
  });
  while (checked < 2) context.run_one();
}

TEST_CASE("a socket that is closed already is left alone") {
  asio::io_context context;
  tcp::socket socket{context};
  filexfer::detail::set_tcp_options(socket);
  CHECK(!socket.is_open());
}

}  // namespace keepalive_tests
