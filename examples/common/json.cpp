#include "common/json.hpp"

#include <filexfer/detail/utf8.hpp>
#include <filexfer/printable.hpp>

#include <cstddef>

namespace programs {
namespace {

/// `\u001b`. No code point that is escaped is above U+FFFF.
std::string escape(char32_t c) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text = "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) text += digits[(c >> shift) & 0xFu];
  return text;
}

}  // namespace

std::string json_string(std::string_view text) {
  std::string result = "\"";
  while (!text.empty()) {
    const auto point = filexfer::detail::first_code_point(text);
    const std::size_t octets = point.octets == 0 ? 1 : point.octets;
    if (point.octets == 0) result += "\xEF\xBF\xBD";  // U+FFFD
    else if (point.value == U'"' || point.value == U'\\') (result += '\\') += text.front();
    else if (filexfer::detail::moves_the_terminal(point.value)) result += escape(point.value);
    else result += text.substr(0, octets);
    text.remove_prefix(octets);
  }
  return result + '"';
}

json_line& json_line::add_value(std::string_view key, std::string_view value) {
  if (!members_.empty()) members_ += ',';
  ((members_ += json_string(key)) += ':') += value;
  return *this;
}

}  // namespace programs
