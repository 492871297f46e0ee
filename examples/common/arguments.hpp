#ifndef PROGRAMS_ARGUMENTS_HPP
#define PROGRAMS_ARGUMENTS_HPP

/// \file
/// What several options of the programs look like.

#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace programs {

/// An argument that can't be read; its text says why.
struct bad_argument : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Reads bytes: `1048576`, `1024K`, `1M`; `K`, `M` and `G` are powers of 1024.
std::uint64_t parse_bytes(std::string_view text);

/// Reads a number from 1 to a million.
std::size_t parse_count(std::string_view text);

/// Reads a time: `500ms`, `10s`, `5m`, `1h`; a number alone counts seconds.
std::chrono::milliseconds parse_duration(std::string_view text);

/// The same, above zero.
std::chrono::milliseconds parse_timeout(std::string_view text);

/// `HOST:PORT` or `[::1]:PORT`.
struct tcp_address {
  std::string host;
  std::uint16_t port = 0;
};

/// `unix:PATH`.
struct unix_address {
  std::string path;
};

/// `tls:HOST:PORT`.
struct tls_address {
  tcp_address tcp;
};

using address = std::variant<tcp_address, unix_address, tls_address>;

/// Refuses what this program was built without.
address parse_address(std::string_view text);

std::string to_string(const address& where);
std::string to_string(const asio::ip::tcp::endpoint& endpoint);
std::string to_string(const asio::local::stream_protocol::endpoint& endpoint);

/// The endpoints of a host, looked up if it is a name. Waits for the answer. Throws
/// `std::system_error`.
std::vector<asio::ip::tcp::endpoint> endpoints_of(const tcp_address& where);

}  // namespace programs

#endif
