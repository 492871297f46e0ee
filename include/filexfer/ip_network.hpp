#ifndef FILEXFER_IP_NETWORK_HPP
#define FILEXFER_IP_NETWORK_HPP

/// \file
/// A set of IP addresses: a network of either version.

#include <asio/ip/address.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/ip/address_v6.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace filexfer {

namespace detail {

/// The address, as an IPv4 one if it is one that a socket of both versions has mapped.
inline asio::ip::address unmapped_address(const asio::ip::address& address) {
  if (!address.is_v6() || !address.to_v6().is_v4_mapped()) return address;
  return asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
}

/// How many bits an address of that version has.
inline unsigned bits_of(const asio::ip::address& address) { return address.is_v4() ? 32 : 128; }

}  // namespace detail

/// All IPv4 or IPv6 addresses that begin with the same bits: `10.0.0.0/8`, `2001:db8::/32`. IPv6
/// addresses that an IPv4 one is mapped to are taken for that.
/// \snippet proxy_protocol.cpp ip_network
class ip_network {
 public:
  /// A single address.
  /// \param address  The address.
  ip_network(const asio::ip::address& address) : ip_network{address, detail::bits_of(address)} {}

  /// The addresses whose first bits are those of another.
  ///
  /// \param address        Its other bits are ignored.
  /// \param prefix_length  How many bits are the same: at most 32 or 128.
  /// \throws std::out_of_range  if there are more.
  ip_network(const asio::ip::address& address, unsigned prefix_length)
      : address_{address}, prefix_length_{prefix_length} {
    if (prefix_length > detail::bits_of(address)) {
      throw std::out_of_range{"an address has fewer bits than the prefix"};
    }
    constexpr unsigned mapped_bits = 96;
    if (address.is_v6() && prefix_length >= mapped_bits) {
      address_ = detail::unmapped_address(address);
      if (address_.is_v4()) prefix_length_ -= mapped_bits;
    }
  }

  /// \param address  An address of either version.
  /// \return whether the address is one of the network.
  [[nodiscard]] bool contains(const asio::ip::address& address) const {
    const auto other = detail::unmapped_address(address);
    if (other.is_v4() != address_.is_v4()) return false;
    if (other.is_v4()) return begin_alike(address_.to_v4().to_bytes(), other.to_v4().to_bytes());
    return begin_alike(address_.to_v6().to_bytes(), other.to_v6().to_bytes());
  }

  /// \return the address that it was made of, without the mapping of an IPv4 one.
  [[nodiscard]] const asio::ip::address& address() const noexcept { return address_; }
  /// \return how many bits are the same.
  [[nodiscard]] unsigned prefix_length() const noexcept { return prefix_length_; }

 private:
  template <std::size_t Size>
  bool begin_alike(const std::array<unsigned char, Size>& a,
                   const std::array<unsigned char, Size>& b) const {
    const std::size_t whole = prefix_length_ / 8;
    const unsigned more = prefix_length_ % 8;
    const auto different = std::mismatch(a.begin(), a.begin() + whole, b.begin());
    if (different.first != a.begin() + whole) return false;
    return more == 0 || ((unsigned{a[whole]} ^ unsigned{b[whole]}) >> (8 - more)) == 0;
  }

  asio::ip::address address_;
  unsigned prefix_length_;
};

namespace detail {

/// Parses an address, without a zone.
inline std::optional<asio::ip::address> parse_ip_address(std::string_view text) {
  if (text.find_first_not_of("0123456789abcdefABCDEF.:") != text.npos) return std::nullopt;
  std::error_code ec;
  const auto address = asio::ip::make_address(std::string{text}, ec);
  return ec ? std::nullopt : std::optional{address};
}

/// Parses a decimal number up to `max`, without leading zeros.
inline std::optional<unsigned> parse_plain_number(std::string_view text, unsigned max) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number > max) return std::nullopt;
  if (text.size() > 1 && text.front() == '0') return std::nullopt;
  return number;
}

/// Whether bits are set after the first `prefix_length`.
template <std::size_t Size>
bool has_bits_beyond(const std::array<unsigned char, Size>& bytes, unsigned prefix_length) {
  for (std::size_t bit = prefix_length; bit < 8 * Size; ++bit) {
    if ((unsigned{bytes[bit / 8]} >> (7 - bit % 8) & 1u) != 0) return true;
  }
  return false;
}

}  // namespace detail

/// Parses a network, or a single address: `10.0.0.0/8`, `192.0.2.1`, `2001:db8::/32`, `::1`.
/// \snippet proxy_protocol.cpp ip_network
///
/// \param text  The text.
/// \return The network; nothing if the text is none: also if bits are set beyond the prefix, as in
///   `10.0.0.1/8`, or an IPv6 address has a zone.
inline std::optional<ip_network> parse_ip_network(std::string_view text) {
  const auto slash = text.find('/');
  const auto address = detail::parse_ip_address(text.substr(0, slash));
  if (!address) return std::nullopt;
  if (slash == text.npos) return ip_network{*address};
  const auto length = detail::parse_plain_number(text.substr(slash + 1), detail::bits_of(*address));
  if (!length) return std::nullopt;
  const bool ambiguous = address->is_v4()
                             ? detail::has_bits_beyond(address->to_v4().to_bytes(), *length)
                             : detail::has_bits_beyond(address->to_v6().to_bytes(), *length);
  if (ambiguous) return std::nullopt;
  return ip_network{*address, *length};
}

}  // namespace filexfer

#endif
