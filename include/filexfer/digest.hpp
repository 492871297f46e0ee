#ifndef FILEXFER_DIGEST_HPP
#define FILEXFER_DIGEST_HPP

/// \file
/// Digests as values, and the concept of a hasher, which computes one.

/// \namespace std
/// Specializations of standard templates for the library's types.

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

/// A digest of any algorithm. The digest of a whole file is the file's id.
/// \snippet digests.cpp digest
///
/// \tparam Bytes  Its length in bytes.
template <std::size_t Bytes>
class digest {
 public:
  /// Length of the digest in bytes.
  static constexpr std::size_t size = Bytes;
  /// Length of the hexadecimal form in digits.
  static constexpr std::size_t hex_digits = 2 * Bytes;

  /// Makes a placeholder whose bytes are all zero.
  constexpr digest() noexcept = default;

  /// \param value  The bytes of the digest.
  constexpr explicit digest(const std::array<std::byte, Bytes>& value) noexcept : value_{value} {}

  /// Parses a hexadecimal digest.
  ///
  /// \param hex  `hex_digits` digits, in either case.
  /// \return The digest; nothing if `hex` has another form.
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

  /// \return Lower-case hexadecimal, two digits a byte.
  std::string to_string() const { return detail::to_hex(value_); }

  /// \return The bytes of the digest.
  constexpr const std::array<std::byte, Bytes>& value() const noexcept { return value_; }

  /// Compares the bytes in lexicographic order.
  friend constexpr auto operator<=>(const digest&, const digest&) noexcept = default;

  /// Writes `d.to_string()`.
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
/// - `update(bytes)`: hashes the next bytes.
/// - `finish()`: returns the digest of all bytes since the last `finish()`, and resets the hasher.
/// - `name()`: the name of the digest in a FEATURES reply (section 7 of the protocol).
/// - `digest_type`: the type of the digest, such as `digest<16>`.
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

/// Hashes a digest, so that it can be a key of unordered containers.
template <std::size_t Bytes>
struct std::hash<filexfer::digest<Bytes>> {
  /// \param d  The digest.
  /// \return Its first bytes, which are distributed evenly already.
  std::size_t operator()(const filexfer::digest<Bytes>& d) const noexcept {
    std::size_t result = 0;
    std::memcpy(&result, d.value().data(), std::min(sizeof result, Bytes));
    return result;
  }
};

#endif
