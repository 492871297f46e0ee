#ifndef PROGRAMS_ARGUMENTS_HPP
#define PROGRAMS_ARGUMENTS_HPP

/// \file
/// Parsing of the sizes, times and addresses that the programs' options take.

#include <filexfer/ip_network.hpp>
#include <filexfer/options.hpp>

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

/// An argument that can't be parsed; the text says why.
struct bad_argument : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Parses a number of bytes: `1048576`, `1024K`, `1M`; `K`, `M` and `G` are powers of 1024.
std::uint64_t parse_bytes(std::string_view text);

/// Parses a number of bytes per second, at least 1024: a server ends a slower connection.
std::uint64_t parse_rate(std::string_view text);

/// Parses a number of bytes, or a share such as `5%`, up to `100%`.
filexfer::free_space parse_free_space(std::string_view text);

/// Parses `on` or `off`.
filexfer::flush_mode parse_flush_mode(std::string_view text);

/// Parses a number from 1 to a million.
std::size_t parse_count(std::string_view text);

/// Parses a number of files, from 1 on.
std::uint64_t parse_files(std::string_view text);

/// Parses a time: `500ms`, `10s`, `5m`, `1h`; without a unit in seconds.
std::chrono::milliseconds parse_duration(std::string_view text);

/// As `parse_duration`, but rejects zero.
std::chrono::milliseconds parse_timeout(std::string_view text);

/// The shortest text that `parse_duration` reads as this time.
std::string format_duration(std::chrono::milliseconds time);

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

/// Rejects `tls:` if the program was built without TLS.
address parse_address(std::string_view text);

/// An address to listen on: as any, or `proxy+tcp:HOST:PORT` or `proxy+tls:HOST:PORT`.
struct listen_address {
  address where;
  bool is_proxied = false;  ///< Connections begin with a header of the PROXY protocol.
};

listen_address parse_listen_address(std::string_view text);

/// Parses a network, `10.0.0.0/8` or `2001:db8::/32`, or a single address.
filexfer::ip_network parse_network(std::string_view text);

std::string to_string(const address& where);
std::string to_string(const asio::ip::tcp::endpoint& endpoint);
std::string to_string(const asio::local::stream_protocol::endpoint& endpoint);

/// Returns a host's endpoints, resolving it if it is a name; blocks. Throws `std::system_error`.
std::vector<asio::ip::tcp::endpoint> resolve_address(const tcp_address& where);

}  // namespace programs

#endif
