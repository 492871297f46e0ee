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
    fail(text, "no address; write HOST:PORT, [::1]:PORT, tls:HOST:PORT or unix:PATH");
  auto host = text.substr(0, colon);
  const auto port_text = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] =
      std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (error != std::errc{} || end != port_text.data() + port_text.size()) {
    fail(text, "no port; write a number from 0 to 65535 behind the colon");
  }
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty() || (!bracketed && host.find(':') != host.npos)) {
    fail(text, "no host; write HOST:PORT, and an IPv6 address in brackets");
  }
  return tcp_address{std::string{host}, port};
}

}  // namespace

std::uint64_t parse_bytes(std::string_view text) {
  constexpr auto max = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  const auto bytes = parse_quantity(text, size_units, max);
  if (!bytes) fail(text, "no size; write bytes, or a number with K, M or G");
  return *bytes;
}

std::size_t parse_count(std::string_view text) {
  constexpr std::array<unit, 1> no_units{{{"", 1}}};
  const auto count = parse_quantity(text, no_units, 1'000'000);
  if (!count || *count == 0) fail(text, "no count; write a number from 1 to 1000000");
  return static_cast<std::size_t>(*count);
}

std::chrono::milliseconds parse_duration(std::string_view text) {
  constexpr std::uint64_t max_time = 100 * 366 * 24 * std::uint64_t{3'600'000};  // 100 years
  const auto count = parse_quantity(text, time_units, max_time);
  if (!count) fail(text, "no time; write a number with ms, s, m or h");
  return std::chrono::milliseconds{*count};
}

std::chrono::milliseconds parse_timeout(std::string_view text) {
  const auto time = parse_duration(text);
  if (time.count() == 0) fail(text, "too short; write a time above 0");
  return time;
}

address parse_address(std::string_view text) {
  constexpr std::string_view unix_prefix = "unix:";
  constexpr std::string_view tls_prefix = "tls:";
  if (text.starts_with(unix_prefix)) {
    const auto path = text.substr(unix_prefix.size());
    if (path.empty()) fail(text, "no path behind unix:");
    return unix_address{std::string{path}};
  }
  if (!text.starts_with(tls_prefix)) return parse_tcp(text);
#ifndef PROGRAMS_WITH_TLS
  fail(text, "this program was built without TLS, for want of OpenSSL");
#endif
  return tls_address{parse_tcp(text.substr(tls_prefix.size()))};
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
