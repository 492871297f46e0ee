#include "common/connect.hpp"

#include "common/endpoints.hpp"

#include <asio/error.hpp>
#include <asio/steady_timer.hpp>

#include <chrono>
#include <memory>
#include <variant>
#include <vector>

namespace programs {
namespace {

using endpoint = any_socket::endpoint_type;

std::vector<endpoint> endpoints_of(const tcp_address& where, std::error_code& ec) {
  const auto found = resolve(where, ec);
  return std::vector<endpoint>(found.begin(), found.end());
}

std::vector<endpoint> endpoints_of(const tls_address& where, std::error_code& ec) {
  return endpoints_of(where.tcp, ec);
}

std::vector<endpoint> endpoints_of(const unix_address& where, std::error_code& ec) try {
  ec.clear();
  return {asio::local::stream_protocol::endpoint{where.path}};
} catch (const std::system_error& e) {
  ec = e.code();  // the path is too long
  return {};
}

}  // namespace

any_socket connect(foreground& operations, const address& where, std::error_code& ec) {
  struct attempt {
    any_socket socket;
    bool late = false;
  };
  const auto tried = std::make_shared<attempt>(attempt{any_socket{operations.context()}});
  any_socket& socket = tried->socket;
  const auto endpoints = std::visit([&](const auto& a) { return endpoints_of(a, ec); }, where);
  if (ec) return std::move(socket);
  asio::steady_timer deadline{operations.context(), std::chrono::seconds{30}};
  deadline.async_wait([tried](std::error_code cancelled) {
    if (cancelled) return;
    tried->late = true;
    tried->socket.close();
  });
  ec = asio::error::host_not_found;
  std::error_code ignored;
  for (const endpoint& one : endpoints) {
    if (tried->late) break;
    socket.close(ignored);
    socket.open(one.protocol(), ec);  // fails where the system lacks a family, such as IPv6
    if (ec) continue;
    std::tie(ec) = operations.run<>([&](auto done) { socket.async_connect(one, std::move(done)); });
    if (!ec) break;
  }
  if (tried->late) ec = asio::error::timed_out;
  socket.set_option(asio::ip::tcp::no_delay{true}, ignored);  // a Unix socket has no such thing
  return std::move(socket);
}

}  // namespace programs
