#ifndef FILEXFER_ANY_DIGEST_HPP
#define FILEXFER_ANY_DIGEST_HPP

/// \file
/// A digest whose kind is known at run time only.

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

/// The id of a file at a server whose kind of digest is learnt from the server: an MD5 or a SHA-256
/// digest, told apart by its length. Empty where no digest is known.
class any_digest {
 public:
  /// Length of the longest digest in bytes.
  static constexpr std::size_t max_size = 64;

  constexpr any_digest() noexcept = default;

  template <std::size_t Size>
    requires(Size <= max_size)
  constexpr any_digest(const digest<Size>& value) noexcept : size_{Size} {
    std::copy(value.value().begin(), value.value().end(), value_.begin());
  }

  /// Reads two hex digits a byte, in either case; nothing if `hex` is no digest.
  static std::optional<any_digest> from_hex(std::string_view hex) noexcept {
    switch (hex.size()) {
      case digest<16>::hex_digits: return from<16>(hex);
      case digest<32>::hex_digits: return from<32>(hex);
      default: return std::nullopt;
    }
  }

  constexpr bool empty() const noexcept { return size_ == 0; }

  /// Length in bytes.
  constexpr std::size_t size() const noexcept { return size_; }

  constexpr std::span<const std::byte> bytes() const noexcept {
    return std::span{value_}.first(size_);
  }

  /// The digest as a value of type `Digest`; nothing if it has another length.
  template <class Digest>
  constexpr std::optional<Digest> as() const noexcept {
    if (size_ != Digest::bytes) return std::nullopt;
    std::array<std::byte, Digest::bytes> value{};
    std::copy_n(value_.begin(), value.size(), value.begin());
    return Digest{value};
  }

  /// Lower-case hexadecimal, two digits a byte; empty if this is.
  std::string to_string() const { return detail::to_hex(bytes()); }

  friend constexpr auto operator<=>(const any_digest&, const any_digest&) noexcept = default;

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

template <>
struct std::hash<filexfer::any_digest> {
  /// A digest is spread evenly already: its first bytes do.
  std::size_t operator()(const filexfer::any_digest& d) const noexcept {
    std::size_t result = 0;
    for (const std::byte b : d.bytes().first(std::min(d.size(), sizeof result))) {
      result = result << 8 | std::to_integer<std::size_t>(b);
    }
    return result;
  }
};

#endif
