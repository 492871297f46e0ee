#ifndef FILEXFER_PRINTABLE_HPP
#define FILEXFER_PRINTABLE_HPP

/// \file
/// Makes text from a peer safe to display.

#include <filexfer/detail/utf8.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace filexfer {
namespace detail {

constexpr bool is_terminal_control(char32_t c) noexcept {
  const bool control = c < 0x20 || (c >= 0x7F && c <= 0x9F);
  const bool separator = c == 0x2028 || c == 0x2029;
  const bool bidirectional = c == 0x061C || c == 0x200E || c == 0x200F ||
                             (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
  return control || separator || bidirectional;
}

}  // namespace detail

/// Escapes every byte of a text that could affect a terminal or a log as `\xHH`.
///
/// These are control characters (C0, DEL, C1), line and paragraph separators, marks that change the
/// direction of writing, and invalid UTF-8. A backslash is written `\\`, so that the result can be
/// decoded.
/// \snippet values.cpp printable
///
/// \param text  Any bytes.
/// \param limit  Most bytes of `text` that are used; the rest is replaced by `...`.
/// \return The text, escaped.
inline std::string printable(std::string_view text, std::size_t limit = 4096) {
  constexpr std::string_view digits = "0123456789abcdef";
  const bool cut = text.size() > limit;
  text = text.substr(0, limit);
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const auto point = detail::first_code_point(text);
    const std::size_t bytes = point.bytes == 0 ? 1 : point.bytes;
    if (point.value == U'\\') {
      result += "\\\\";
    } else if (point.bytes != 0 && !detail::is_terminal_control(point.value)) {
      result += text.substr(0, bytes);
    } else {
      for (const char c : text.substr(0, bytes)) {
        const auto byte = static_cast<unsigned char>(c);
        result += "\\x";
        result += digits[byte >> 4];
        result += digits[byte & 0x0Fu];
      }
    }
    text.remove_prefix(bytes);
  }
  if (cut) result += "...";
  return result;
}

}  // namespace filexfer

#endif
