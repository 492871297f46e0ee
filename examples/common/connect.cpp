#include "common/connect.hpp"

#include "common/endpoints.hpp"

#include <asio/connect.hpp>
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

std::vector<endpoint> endpoints_of(const unix_address& where, std::error_code& ec) try {
  ec.clear();
  return {asio::local::stream_protocol::endpoint{where.path}};
} catch (const std::system_error& e) {
  ec = e.code();  // the path is too long
  return {};
}

}  // namespace

any_socket connect(foreground& operations, const address& where, std::error_code& ec) {
  const auto endpoints = std::visit([&](const auto& a) { return endpoints_of(a, ec); }, where);
  const auto socket = std::make_shared<any_socket>(operations.context());
  if (ec) return std::move(*socket);
  asio::steady_timer deadline{operations.context(), std::chrono::seconds{30}};
  deadline.async_wait([socket](std::error_code cancelled) {
    if (!cancelled) socket->close();
  });
  std::tie(ec, std::ignore) = operations.run<endpoint>(
      [&](auto done) { asio::async_connect(*socket, endpoints, std::move(done)); });
  if (ec == asio::error::operation_aborted && !interruption::came()) ec = asio::error::timed_out;
  std::error_code ignored;  // a Unix socket has no such thing
  socket->set_option(asio::ip::tcp::no_delay{true}, ignored);
  return std::move(*socket);
}

}  // namespace programs
