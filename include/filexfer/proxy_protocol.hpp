#ifndef FILEXFER_PROXY_PROTOCOL_HPP
#define FILEXFER_PROXY_PROTOCOL_HPP

/// \file
/// The header of the PROXY protocol (versions 1 and 2 of haproxy's `proxy-protocol.txt`), with
/// which a load balancer begins a connection to tell the address of its client.

#include <filexfer/error.hpp>
#include <filexfer/ip_network.hpp>

#include <asio/ip/address_v4.hpp>
#include <asio/ip/address_v6.hpp>
#include <asio/ip/tcp.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>

namespace filexfer {

/// Size in bytes of the shortest header: `PROXY UNKNOWN` with its CRLF. So many may be read first.
inline constexpr std::size_t min_proxy_header_size = 15;
/// Size in bytes of the longest header that is accepted: one of version 2 may have 4096 behind its
/// first 16, where the protocol allows 65535. An address takes 216 at most; the rest is left for
/// extensions, which are skipped.
inline constexpr std::size_t max_proxy_header_size = 16 + 4096;

/// A header, or what is known of one that has arrived in part.
struct proxy_header {
  /// Bytes that are missing, at least; 0 once the header is complete. Reading no more than these
  /// leaves what follows the header in the stream.
  std::size_t missing = 0;
  std::size_t size = 0;  ///< In bytes, once it is complete; what follows belongs to the stream.
  /// The client's endpoint. Nothing if the proxy has made the connection itself, such as to check
  /// the server (LOCAL), or does not know its client, or knows it by a Unix socket.
  std::optional<asio::ip::tcp::endpoint> source{};
};

namespace detail {

inline constexpr std::size_t max_proxy_line_size = 107;

/// What the headers of version 1 that name addresses begin with, how long they are at least, and
/// how many bits their addresses have.
struct proxy_line_kind {
  std::string_view start;
  std::size_t min_size;
  unsigned address_bits;
};
inline constexpr proxy_line_kind proxy_tcp4{"PROXY TCP4 ", 32, 32};   // 0.0.0.0 0.0.0.0 0 0
inline constexpr proxy_line_kind proxy_tcp6{"PROXY TCP6 ", 22, 128};  // :: :: 0 0
inline constexpr std::string_view proxy_unknown = "PROXY UNKNOWN";

inline constexpr std::string_view proxy_signature{"\r\n\r\n\0\r\nQUIT\n", 12};
inline constexpr std::size_t proxy_fixed_size = 16;  ///< Of version 2: what all headers begin with.

/// Whether one of them is a prefix of the other.
inline bool begin_alike(std::string_view a, std::string_view b) noexcept {
  const auto size = std::min(a.size(), b.size());
  return a.substr(0, size) == b.substr(0, size);
}

inline proxy_header malformed_header(std::error_code& ec) noexcept {
  ec = errc::bad_proxy_header;
  return {};
}

/// The start of a header of version 1 without its CRLF. `min_size` is that of its kind.
inline proxy_header incomplete_line(std::string_view text, std::size_t min_size,
                                    std::error_code& ec) {
  const std::size_t for_end = text.ends_with('\r') ? 1 : 2;
  if (text.size() + for_end > max_proxy_line_size) return malformed_header(ec);
  if (for_end == 1 || text.size() >= min_size) return {.missing = for_end};
  return {.missing = std::max(for_end, min_size - text.size())};
}

/// The first field, which is removed from `text` with the space behind it.
inline std::string_view take_proxy_field(std::string_view& text) noexcept {
  const auto field = text.substr(0, text.find(' '));
  text.remove_prefix(std::min(text.size(), field.size() + 1));
  return field;
}

/// A header of version 1 that names addresses.
inline proxy_header parse_proxy_addresses(std::string_view text, const proxy_line_kind& kind,
                                          std::error_code& ec) {
  const auto end = text.substr(0, max_proxy_line_size).find("\r\n");
  if (end == text.npos) {
    const auto line = text.substr(0, text.size() - (text.ends_with('\r') ? 1 : 0));
    const auto is_printable = [](char c) { return c >= ' ' && c <= '~'; };
    if (!std::all_of(line.begin(), line.end(), is_printable)) return malformed_header(ec);
    return incomplete_line(text, kind.min_size, ec);
  }
  auto rest = text.substr(0, end);
  if (std::count(rest.begin(), rest.end(), ' ') != 5) return malformed_header(ec);
  rest.remove_prefix(kind.start.size());
  const auto source = parse_ip_address(take_proxy_field(rest));
  const auto destination = parse_ip_address(take_proxy_field(rest));
  const auto source_port = parse_plain_number(take_proxy_field(rest), 65535);
  const auto destination_port = parse_plain_number(take_proxy_field(rest), 65535);
  if (!source || !destination || !source_port || !destination_port ||
      bits_of(*source) != kind.address_bits || bits_of(*destination) != kind.address_bits) {
    return malformed_header(ec);
  }
  return {.size = end + 2,
          .source = asio::ip::tcp::endpoint{*source, static_cast<std::uint16_t>(*source_port)}};
}

/// A header of version 1 that names none; whatever else it says is ignored.
inline proxy_header parse_proxy_unknown(std::string_view text, std::error_code& ec) {
  const auto behind = text.substr(std::min(text.size(), proxy_unknown.size()), 1);
  if (!behind.empty() && behind != " " && behind != "\r") return malformed_header(ec);
  const auto end = text.substr(0, max_proxy_line_size).find("\r\n");
  if (end == text.npos) return incomplete_line(text, min_proxy_header_size, ec);
  return {.size = end + 2};
}

/// The endpoint whose address `block` begins with; its port is at `port_offset`.
template <class Address>
asio::ip::tcp::endpoint proxied_endpoint(std::span<const std::byte> block,
                                         std::size_t port_offset) {
  typename Address::bytes_type bytes;
  std::memcpy(bytes.data(), block.data(), bytes.size());
  const auto high = std::to_integer<unsigned>(block[port_offset]);
  const auto low = std::to_integer<unsigned>(block[port_offset + 1]);
  return {Address{bytes}, static_cast<std::uint16_t>(high << 8 | low)};
}

/// A header of version 2. `received` has the signature, or begins like it.
inline proxy_header parse_proxy_binary(std::span<const std::byte> received, std::error_code& ec) {
  const auto value = [received](std::size_t index) {
    return std::to_integer<unsigned>(received[index]);
  };
  constexpr unsigned local = 0x20;
  constexpr unsigned proxy = 0x21;
  if (received.size() > 12 && value(12) != local && value(12) != proxy) return malformed_header(ec);
  const bool is_local = received.size() > 12 && value(12) == local;

  // What the 14th byte stands for, and how many bytes its addresses take.
  constexpr unsigned unspecified = 0x00;
  constexpr unsigned unspecified_stream = 0x01;
  constexpr unsigned tcp4 = 0x11;
  constexpr unsigned tcp6 = 0x21;
  constexpr unsigned unix_stream = 0x31;
  std::size_t addresses_size = 0;
  const unsigned family = received.size() > 13 && !is_local ? value(13) : unspecified;
  switch (family) {
    case unspecified:
    case unspecified_stream: break;
    case tcp4: addresses_size = 12; break;
    case tcp6: addresses_size = 36; break;
    case unix_stream: addresses_size = 216; break;
    default: return malformed_header(ec);
  }
  if (received.size() < proxy_fixed_size) return {.missing = proxy_fixed_size - received.size()};

  const std::size_t behind = value(14) << 8 | value(15);
  const std::size_t size = proxy_fixed_size + behind;
  if (behind < addresses_size || size > max_proxy_header_size) return malformed_header(ec);
  if (received.size() < size) return {.missing = size - received.size()};
  proxy_header header{.size = size};
  const auto block = received.subspan(proxy_fixed_size);
  if (family == tcp4) header.source = proxied_endpoint<asio::ip::address_v4>(block, 8);
  if (family == tcp6) header.source = proxied_endpoint<asio::ip::address_v6>(block, 32);
  return header;
}

}  // namespace detail

/// Parses the header of the PROXY protocol, of either version, as far as it has been received.
///
/// Of version 2, families of streams are accepted (TCP over IPv4 and IPv6, Unix, unspecified) and
/// those of datagrams are not; extensions (TLVs) are skipped, and the checksum that one of them may
/// hold is not checked. What can't become a header is reported as soon as that is certain; the
/// addresses of version 1 are looked at once their line is complete.
/// \snippet proxy_protocol.cpp parse_proxy_header
///
/// \param received  The first bytes of a connection; may be none, and more than the header.
/// \param ec  `errc::bad_proxy_header` if they are not, and can't become, a header of at most
///   `max_proxy_header_size`. Throws `std::system_error` if omitted.
/// \return The header; if it is not complete, how many of its bytes are missing, at least.
inline proxy_header parse_proxy_header(std::span<const std::byte> received,
                                       std::error_code& ec = throws()) {
  const auto parse = [received](std::error_code& error) -> proxy_header {
    error.clear();
    const std::string_view text{reinterpret_cast<const char*>(received.data()), received.size()};
    const auto may_be = [text](std::string_view start) { return detail::begin_alike(text, start); };
    const bool is_tcp4 = may_be(detail::proxy_tcp4.start);
    const bool is_tcp6 = may_be(detail::proxy_tcp6.start);
    const bool is_unknown = may_be(detail::proxy_unknown);
    const bool is_binary = may_be(detail::proxy_signature);
    const int candidates = is_tcp4 + is_tcp6 + is_unknown + is_binary;
    if (candidates > 1) return {.missing = min_proxy_header_size - text.size()};
    if (is_binary) return detail::parse_proxy_binary(received, error);
    if (is_unknown) return detail::parse_proxy_unknown(text, error);
    if (is_tcp4) return detail::parse_proxy_addresses(text, detail::proxy_tcp4, error);
    if (is_tcp6) return detail::parse_proxy_addresses(text, detail::proxy_tcp6, error);
    return detail::malformed_header(error);
  };
  return detail::call_or_throw(parse, ec);
}

}  // namespace filexfer

#endif
