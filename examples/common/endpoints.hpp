#ifndef PROGRAMS_ENDPOINTS_HPP
#define PROGRAMS_ENDPOINTS_HPP

/// \file
/// Addresses as Asio knows them.

#include "common/arguments.hpp"

#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>

#include <sstream>
#include <string>
#include <system_error>
#include <vector>

namespace programs {

/// The endpoints of a host, looked up if it is a name. Waits for the answer.
inline std::vector<asio::ip::tcp::endpoint> resolve(const tcp_address& where, std::error_code& ec) {
  const auto numeric = asio::ip::make_address(where.host, ec);
  if (!ec) return {{numeric, where.port}};
  asio::io_context context;
  asio::ip::tcp::resolver resolver{context};
  std::vector<asio::ip::tcp::endpoint> found;
  for (const auto& entry : resolver.resolve(where.host, std::to_string(where.port), ec)) {
    found.push_back(entry.endpoint());
  }
  return found;
}

/// As `--listen` and `--server` take it.
inline std::string to_string(const asio::ip::tcp::endpoint& endpoint) {
  std::ostringstream text;
  text << endpoint;
  return text.str();
}

inline std::string to_string(const asio::local::stream_protocol::endpoint& endpoint) {
  return "unix:" + endpoint.path();
}

}  // namespace programs

#endif
