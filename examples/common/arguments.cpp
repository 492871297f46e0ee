#include "common/arguments.hpp"

#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>

#include <array>
#include <charconv>
#include <limits>
#include <optional>
#include <span>
#include <sstream>
#include <system_error>
#include <utility>

namespace programs {
namespace {

using unit = std::pair<std::string_view, std::uint64_t>;

constexpr std::array<unit, 4> size_units{
    {{"", 1}, {"K", 1u << 10}, {"M", 1u << 20}, {"G", 1u << 30}}};
constexpr std::array<unit, 5> time_units{
    {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}}};

/// Begins an address whose connections come from a proxy.
constexpr std::string_view proxy_prefix = "proxy+";

/// Parses a number with a unit; nothing if `text` is not one, or is greater than `max`.
std::optional<std::uint64_t> parse_quantity(std::string_view text, std::span<const unit> units,
                                            std::uint64_t max) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return std::nullopt;
  const auto suffix = text.substr(static_cast<std::size_t>(end - text.data()));
  for (const auto& [name, factor] : units) {
    if (suffix == name && number <= max / factor) return number * factor;
  }
  return std::nullopt;
}

[[noreturn]] void fail(std::string_view text, const char* reason) {
  throw bad_argument{std::string{text} + ": " + reason};
}

tcp_address parse_tcp(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == text.npos)
    fail(text, "not an address; expected HOST:PORT, [::1]:PORT, tls:HOST:PORT or unix:PATH");
  auto host = text.substr(0, colon);
  const auto port_text = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] =
      std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (error != std::errc{} || end != port_text.data() + port_text.size()) {
    fail(text, "invalid port; expected a number from 0 to 65535 after the colon");
  }
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty() || (!bracketed && host.find(':') != host.npos)) {
    fail(text, "missing host; expected HOST:PORT, with an IPv6 address in brackets");
  }
  return tcp_address{std::string{host}, port};
}

}  // namespace

std::uint64_t parse_bytes(std::string_view text) {
  constexpr auto max = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const auto bytes = parse_quantity(text, size_units, max);
  if (!bytes) fail(text, "invalid size; expected bytes, or a number with K, M or G");
  return *bytes;
}

std::uint64_t parse_rate(std::string_view text) {
  const std::uint64_t rate = parse_bytes(text);
  if (rate < 1024) fail(text, "too slow; expected 1K or more, in bytes per second");
  return rate;
}

filexfer::free_space parse_free_space(std::string_view text) {
  if (!text.ends_with('%')) return {parse_bytes(text), 0};
  constexpr std::array<unit, 1> percent_unit{{{"%", 1}}};
  const auto percent = parse_quantity(text, percent_unit, 100);
  if (!percent) fail(text, "invalid share; expected 0% to 100%");
  return {0, static_cast<unsigned>(*percent)};
}

filexfer::flush_mode parse_flush_mode(std::string_view text) {
  if (text == "on") return filexfer::flush_mode::on;
  if (text != "off") fail(text, "expected on or off");
  return filexfer::flush_mode::off;
}

std::size_t parse_count(std::string_view text) {
  constexpr std::array<unit, 1> no_units{{{"", 1}}};
  const auto count = parse_quantity(text, no_units, 1'000'000);
  if (!count || *count == 0) fail(text, "invalid count; expected a number from 1 to 1000000");
  return static_cast<std::size_t>(*count);
}

std::uint64_t parse_files(std::string_view text) {
  constexpr std::array<unit, 1> no_units{{{"", 1}}};
  constexpr auto max = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const auto count = parse_quantity(text, no_units, max);
  if (!count || *count == 0) fail(text, "invalid number of files; expected 1 or more");
  return *count;
}

std::chrono::milliseconds parse_duration(std::string_view text) {
  constexpr std::uint64_t max_time = 100 * 366 * 24 * std::uint64_t{3'600'000};  // 100 years
  const auto count = parse_quantity(text, time_units, max_time);
  if (!count) fail(text, "invalid time; expected a number with ms, s, m or h");
  return std::chrono::milliseconds{*count};
}

std::chrono::milliseconds parse_timeout(std::string_view text) {
  const auto time = parse_duration(text);
  if (time.count() == 0) fail(text, "too short; expected a time above 0");
  return time;
}

std::string format_duration(std::chrono::milliseconds time) {
  const auto count = static_cast<std::uint64_t>(time.count());
  std::string text = "0";
  for (const auto& [name, factor] : time_units) {
    if (!name.empty() && count > 0 && count % factor == 0)
      text = std::to_string(count / factor) + std::string{name};
  }
  return text;
}

address parse_address(std::string_view text) {
  constexpr std::string_view unix_prefix = "unix:";
  constexpr std::string_view tls_prefix = "tls:";
  if (text.starts_with(unix_prefix)) {
    const auto path = text.substr(unix_prefix.size());
    if (path.empty()) fail(text, "missing path after unix:");
    return unix_address{std::string{path}};
  }
  if (text.starts_with(proxy_prefix)) {
    fail(text, "only a server can listen on it; connect to the address of the proxy");
  }
  if (!text.starts_with(tls_prefix)) return parse_tcp(text);
#ifndef PROGRAMS_WITH_TLS
  fail(text, "this program was built without TLS");
#endif
  return tls_address{parse_tcp(text.substr(tls_prefix.size()))};
}

listen_address parse_listen_address(std::string_view text) {
  if (!text.starts_with(proxy_prefix)) return {parse_address(text)};
  const auto proxied = text.substr(proxy_prefix.size());
  constexpr std::string_view tcp_prefix = "tcp:";
  if (proxied.starts_with(tcp_prefix)) return {parse_tcp(proxied.substr(tcp_prefix.size())), true};
  if (proxied.starts_with("tls:")) return {parse_address(proxied), true};
  fail(text, "expected proxy+tcp:HOST:PORT or proxy+tls:HOST:PORT");
}

filexfer::ip_network parse_network(std::string_view text) {
  const auto network = filexfer::parse_ip_network(text);
  if (!network) {
    fail(text,
         "not a network; expected an IP address, or one with the number of bits that count, and "
         "all others 0: 10.0.0.0/8");
  }
  return *network;
}

std::string to_string(const address& where) {
  if (const auto* local = std::get_if<unix_address>(&where)) return "unix:" + local->path;
  const auto* tls = std::get_if<tls_address>(&where);
  const auto& [host, port] = tls ? tls->tcp : std::get<tcp_address>(where);
  const bool bracketed = host.find(':') != std::string::npos;
  return (tls ? "tls:" : "") + (bracketed ? '[' + host + ']' : host) + ':' + std::to_string(port);
}

std::string to_string(const asio::ip::tcp::endpoint& endpoint) {
  std::ostringstream text;
  text << endpoint;
  return text.str();
}

std::string to_string(const asio::local::stream_protocol::endpoint& endpoint) {
  return "unix:" + endpoint.path();
}

std::vector<asio::ip::tcp::endpoint> resolve_address(const tcp_address& where) {
  std::error_code ec;
  const auto numeric = asio::ip::make_address(where.host, ec);
  if (!ec) return {{numeric, where.port}};
  asio::io_context context;
  asio::ip::tcp::resolver resolver{context};
  std::vector<asio::ip::tcp::endpoint> endpoints;
  for (const auto& entry : resolver.resolve(where.host, std::to_string(where.port), ec)) {
    endpoints.push_back(entry.endpoint());
  }
  if (ec) throw std::system_error{ec, to_string(address{where})};
  return endpoints;
}

}  // namespace programs
