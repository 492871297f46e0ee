#ifndef FILEXFER_ANY_DIGEST_HPP
#define FILEXFER_ANY_DIGEST_HPP

/// \file
/// A digest whose length is known only at run time.

#include <filexfer/digest.hpp>

#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <functional>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <string_view>

namespace filexfer {

/// A digest whose length is known only at run time: the id of a file at a server whose kind of
/// digest is learnt from the server (MD5 or SHA-256, by length). Empty if no digest is known.
/// \snippet digests.cpp any_digest
class any_digest {
 public:
  /// Length of the longest digest in bytes.
  static constexpr std::size_t max_size = 64;

  /// Makes an empty one.
  constexpr any_digest() noexcept = default;

  /// Converts from a digest of fixed length.
  ///
  /// \tparam Size  Its length in bytes.
  /// \param value  The digest.
  template <std::size_t Size>
    requires(Size <= max_size)
  constexpr any_digest(const digest<Size>& value) noexcept : size_{Size} {
    std::copy(value.value().begin(), value.value().end(), value_.begin());
  }

  /// Parses a hexadecimal MD5 or SHA-256 digest.
  ///
  /// \param hex  32 or 64 digits, in either case.
  /// \return The digest; nothing if `hex` has another form.
  static std::optional<any_digest> from_hex(std::string_view hex) noexcept {
    switch (hex.size()) {
      case digest<16>::hex_digits: return from<16>(hex);
      case digest<32>::hex_digits: return from<32>(hex);
      default: return std::nullopt;
    }
  }

  /// \return Whether no digest is known.
  constexpr bool empty() const noexcept { return size_ == 0; }

  /// \return The length in bytes.
  constexpr std::size_t size() const noexcept { return size_; }

  /// \return A view of the bytes, `size()` of them.
  constexpr std::span<const std::byte> bytes() const noexcept {
    return std::span{value_}.first(size_);
  }

  /// Converts to a digest of fixed length.
  ///
  /// \tparam Digest  A `digest`.
  /// \return The digest; nothing if `Digest` has another length.
  template <class Digest>
  constexpr std::optional<Digest> as() const noexcept {
    if (size_ != Digest::size) return std::nullopt;
    std::array<std::byte, Digest::size> value{};
    std::copy_n(value_.begin(), value.size(), value.begin());
    return Digest{value};
  }

  /// \return Lower-case hexadecimal, two digits a byte; an empty string if `empty()`.
  std::string to_string() const { return detail::to_hex(bytes()); }

  /// Compares the lengths, then the bytes in lexicographic order.
  friend constexpr auto operator<=>(const any_digest&, const any_digest&) noexcept = default;

  /// Writes `d.to_string()`.
  friend std::ostream& operator<<(std::ostream& out, const any_digest& d) {
    return out << d.to_string();
  }

 private:
  template <std::size_t Size>
  static std::optional<any_digest> from(std::string_view hex) noexcept {
    const auto value = digest<Size>::from_hex(hex);
    return value ? std::optional{any_digest{*value}} : std::nullopt;
  }

  std::size_t size_ = 0;
  std::array<std::byte, max_size> value_{};  ///< Zero beyond `size_`.
};

}  // namespace filexfer

/// Hashes a digest, so that it can be a key of unordered containers.
template <>
struct std::hash<filexfer::any_digest> {
  /// \param d  The digest.
  /// \return Its first bytes, which are distributed evenly already.
  std::size_t operator()(const filexfer::any_digest& d) const noexcept {
    std::size_t result = 0;
    for (const std::byte b : d.bytes().first(std::min(d.size(), sizeof result))) {
      result = result << 8 | std::to_integer<std::size_t>(b);
    }
    return result;
  }
};

#endif
