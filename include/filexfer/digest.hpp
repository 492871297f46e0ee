#ifndef FILEXFER_DIGEST_HPP
#define FILEXFER_DIGEST_HPP

/// \file
/// A digest is a value; a hasher computes one. Neither knows which algorithm it is.

#include <algorithm>
#include <array>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <functional>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>

namespace filexfer {
namespace detail {

/// Lower-case hexadecimal, two digits a byte.
inline std::string to_hex(std::span<const std::byte> bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * bytes.size());
  for (const std::byte b : bytes) {
    hex += digits[std::to_integer<std::size_t>(b >> 4)];
    hex += digits[std::to_integer<std::size_t>(b & std::byte{0x0F})];
  }
  return hex;
}

}  // namespace detail

/// The `Bytes` bytes of a digest. The digest of a whole file is the file's id.
template <std::size_t Bytes>
class digest {
 public:
  /// Length of the digest in bytes.
  static constexpr std::size_t bytes = Bytes;
  /// Length of its hexadecimal form in digits.
  static constexpr std::size_t hex_digits = 2 * Bytes;

  /// All bytes zero; not the digest of anything in particular.
  constexpr digest() noexcept = default;

  constexpr explicit digest(const std::array<std::byte, Bytes>& value) noexcept : value_{value} {}

  /// Reads `hex_digits` digits in either case; anything else is no digest.
  [[nodiscard]] static constexpr std::optional<digest> from_hex(std::string_view hex) noexcept {
    if (hex.size() != hex_digits) return std::nullopt;
    digest result;
    for (std::size_t i = 0; i < Bytes; ++i) {
      const int high = hex_value(hex[2 * i]);
      const int low = hex_value(hex[2 * i + 1]);
      if (high < 0 || low < 0) return std::nullopt;
      result.value_[i] = static_cast<std::byte>(high * 16 + low);
    }
    return result;
  }

  /// Lower-case hexadecimal, two digits a byte.
  std::string to_string() const { return detail::to_hex(value_); }

  constexpr const std::array<std::byte, Bytes>& value() const noexcept { return value_; }

  friend constexpr auto operator<=>(const digest&, const digest&) noexcept = default;

  friend std::ostream& operator<<(std::ostream& out, const digest& d) {
    return out << d.to_string();
  }

 private:
  static constexpr int hex_value(char c) noexcept {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  }

  std::array<std::byte, Bytes> value_{};
};

/// Computes a digest in one pass over a file's bytes.
///
/// `finish()` returns the digest of all bytes given so far, and leaves the hasher as new.
/// `name()` is the word by which FEATURES names the digest (the protocol's section 7).
template <class H>
concept hasher = std::default_initializable<H> && std::movable<H> &&
                 requires(H h, std::span<const std::byte> bytes) {
                   { H::name() } -> std::convertible_to<std::string_view>;
                   { h.update(bytes) } -> std::same_as<void>;
                   { h.finish() } -> std::same_as<typename H::digest_type>;
                   {
                     H::digest_type::from_hex(std::string_view{})
                   } -> std::same_as<std::optional<typename H::digest_type>>;
                 };

}  // namespace filexfer

template <std::size_t Bytes>
struct std::hash<filexfer::digest<Bytes>> {
  /// A digest is spread evenly already: its first bytes do.
  std::size_t operator()(const filexfer::digest<Bytes>& d) const noexcept {
    std::size_t result = 0;
    std::memcpy(&result, d.value().data(), std::min(sizeof result, Bytes));
    return result;
  }
};

#endif
