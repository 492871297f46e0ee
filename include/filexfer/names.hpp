#ifndef FILEXFER_NAMES_HPP
#define FILEXFER_NAMES_HPP

/// \file
/// The names of files, and how they are escaped on the wire (section 2 of the protocol).

#include <filexfer/detail/utf8.hpp>

#include <charconv>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace filexfer {

/// Length of the longest name in bytes, decoded (section 2).
inline constexpr std::size_t max_name_length = 1024;
/// Length of the longest name that every server accepts; for longer ones see
/// `server_features::max_name_length`.
inline constexpr std::size_t default_max_name_length = 255;
/// Length of the longest component of a name between `/`, in bytes (section 2).
inline constexpr std::size_t max_component_length = 255;
/// Checks a name (section 2).
/// \snippet protocol.cpp names
///
/// \param name  Decoded.
/// \return Whether it is UTF-8 of 1 to 1024 bytes without NUL, with no component between `/` that
/// is
///         empty, `.` or `..`, or longer than 255 bytes.
constexpr bool is_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > max_name_length) return false;
  if (name.find('\0') != std::string_view::npos || !detail::is_utf8(name)) return false;
  for (;;) {
    const auto component = name.substr(0, name.find('/'));
    if (component.empty() || component == "." || component == "..") return false;
    if (component.size() > max_component_length) return false;
    if (component.size() == name.size()) return true;
    name.remove_prefix(component.size() + 1);
  }
}

/// Escapes a name for the wire (section 2).
/// \snippet protocol.cpp names
///
/// \param name  Decoded; also a prefix of names.
/// \return The name with control bytes, `;` and `%` written as `%XX`.
inline std::string escape_name(std::string_view name) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  std::string text;
  text.reserve(name.size());
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F || c == ';' || c == '%') {
      text += '%';
      text += digits[byte >> 4];
      text += digits[byte & 0x0Fu];
    } else {
      text += c;
    }
  }
  return text;
}

/// Decodes bytes that are escaped like a name (section 2).
/// \snippet protocol.cpp names
///
/// \param text  As on the wire; hex digits may be in either case.
/// \return The bytes; nothing if a `%` is not followed by two hex digits.
inline std::optional<std::string> unescape(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      unsigned byte = 0;
      const auto hex = text.substr(i + 1, 2);
      const auto [end, error] = std::from_chars(hex.data(), hex.data() + hex.size(), byte, 16);
      if (hex.size() != 2 || error != std::errc{} || end != hex.data() + 2) return std::nullopt;
      c = static_cast<char>(byte);
      i += 2;
    }
    bytes += c;
  }
  return bytes;
}

/// Decodes a name and checks it (section 2).
/// \snippet protocol.cpp names
///
/// \param text  As on the wire.
/// \return The name; nothing if `text` can't be decoded, or the result fails `is_name`.
inline std::optional<std::string> unescape_name(std::string_view text) {
  auto name = unescape(text);
  if (name && !is_name(*name)) name.reset();
  return name;
}

}  // namespace filexfer

#endif
