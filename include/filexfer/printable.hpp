#ifndef FILEXFER_PRINTABLE_HPP
#define FILEXFER_PRINTABLE_HPP

/// \file
/// Makes a peer's text safe to show.

#include <filexfer/detail/utf8.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace filexfer {
namespace detail {

constexpr bool moves_the_terminal(char32_t c) noexcept {
  const bool control = c < 0x20 || (c >= 0x7F && c <= 0x9F);
  const bool separator = c == 0x2028 || c == 0x2029;
  const bool bidirectional = c == 0x061C || c == 0x200E || c == 0x200F ||
                             (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
  return control || separator || bidirectional;
}

}  // namespace detail

/// Returns `text` with every octet that could act on a terminal or a log written as `\xHH`.
///
/// Escaped are control characters (C0, DEL, C1), line and paragraph separators, marks that turn the
/// direction of writing, and whatever is not UTF-8. A backslash is written `\\`, so that the result
/// can be read back. At most `limit` octets of `text` are looked at; a longer one ends in `...`.
inline std::string printable(std::string_view text, std::size_t limit = 4096) {
  constexpr std::string_view digits = "0123456789abcdef";
  const bool cut = text.size() > limit;
  text = text.substr(0, limit);
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const auto point = detail::first_code_point(text);
    const std::size_t octets = point.octets == 0 ? 1 : point.octets;
    if (point.value == U'\\') {
      result += "\\\\";
    } else if (point.octets != 0 && !detail::moves_the_terminal(point.value)) {
      result += text.substr(0, octets);
    } else {
      for (const char c : text.substr(0, octets)) {
        const auto octet = static_cast<unsigned char>(c);
        result += "\\x";
        result += digits[octet >> 4];
        result += digits[octet & 0x0Fu];
      }
    }
    text.remove_prefix(octets);
  }
  if (cut) result += "...";
  return result;
}

}  // namespace filexfer

#endif
