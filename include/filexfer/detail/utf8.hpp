#ifndef FILEXFER_DETAIL_UTF8_HPP
#define FILEXFER_DETAIL_UTF8_HPP

#include <cstddef>
#include <string_view>

namespace filexfer::detail {

/// A decoded code point, or `bytes == 0` if the text does not begin with a valid one.
struct code_point {
  char32_t value = 0;
  std::size_t bytes = 0;
};

/// Decodes the first code point of `text`: shortest forms only, no surrogates (RFC 3629).
constexpr code_point first_code_point(std::string_view text) noexcept {
  if (text.empty()) return {};
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return {lead, 1};
  const std::size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return {};
  char32_t value = lead & (0x7Fu >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    const auto next = static_cast<unsigned char>(text[i]);
    if ((next & 0xC0u) != 0x80u) return {};
    value = (value << 6) | (next & 0x3Fu);
  }
  constexpr char32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < smallest[bytes] || value > 0x10FFFF || surrogate) return {};
  return {value, bytes};
}

constexpr bool is_utf8(std::string_view text) noexcept {
  while (!text.empty()) {
    const auto point = first_code_point(text);
    if (point.bytes == 0) return false;
    text.remove_prefix(point.bytes);
  }
  return true;
}

}  // namespace filexfer::detail

#endif
