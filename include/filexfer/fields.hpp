#ifndef FILEXFER_FIELDS_HPP
#define FILEXFER_FIELDS_HPP

/// \file
/// What a line is made of: sizes, names and parameters (the protocol's sections 1 and 2).

#include <filexfer/detail/utf8.hpp>
#include <filexfer/error.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace filexfer {

/// The longest line in bytes, its LF (and a CR before it) included (section 1).
inline constexpr std::size_t max_line_length = 4096;
/// The longest name in bytes, decoded (section 2).
inline constexpr std::size_t max_name_length = 255;
/// The largest size of a file in bytes (section 2).
inline constexpr std::uint64_t max_file_size = std::numeric_limits<std::int64_t>::max();

/// Whether `line` holds no control byte, as section 1 wants.
constexpr bool is_clean_line(std::string_view line) noexcept {
  return std::all_of(line.begin(), line.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && byte != 0x7F;
  });
}

// ------------------------------------------------------------------------------------- parameters

/// `;key` or `;key=value` behind a line's fixed fields (section 2).
struct parameter {
  std::string_view key;
  std::optional<std::string_view> value;
};

/// The parameters of one line: a view of its text.
class parameters {
 public:
  parameters() = default;

  /// Checks `text`, which is empty or begins with `;`. Sets `errc::bad_request` when a key is
  /// malformed, missing or there twice, or nothing stands behind a `=`. Unknown keys are fine.
  static parameters parse(std::string_view text, std::error_code& ec) {
    ec.clear();
    bool good = text.size() <= max_line_length;
    for (auto rest = text; good && !rest.empty();) {
      const auto next = take(rest);
      const bool lacks_value = next.value && next.value->empty();
      good = is_key(next.key) && !lacks_value;
    }
    if (good && !has_duplicate_keys(text)) return parameters{text};
    ec = errc::bad_request;
    return {};
  }

  std::optional<parameter> find(std::string_view key) const noexcept {
    for (auto rest = text_; !rest.empty();) {
      const auto next = take(rest);
      if (next.key == key) return next;
    }
    return std::nullopt;
  }

  /// The value of `key`; nothing if it is not there; `errc::bad_request` if it stands without one.
  std::optional<std::string_view> value(std::string_view key, std::error_code& ec) const noexcept {
    const auto found = find(key);
    if (!found) return std::nullopt;
    if (!found->value) ec = errc::bad_request;
    return found->value;
  }

  /// Whether the flag `key` is there; `errc::bad_request` if it stands with a value.
  bool flag(std::string_view key, std::error_code& ec) const noexcept {
    const auto found = find(key);
    if (found && found->value) ec = errc::bad_request;
    return found && !found->value;
  }

 private:
  explicit parameters(std::string_view text) noexcept : text_{text} {}

  static parameter take(std::string_view& rest) noexcept {
    rest.remove_prefix(1);  // the `;`
    const auto text = rest.substr(0, rest.find(';'));
    rest.remove_prefix(text.size());
    const auto equals = text.find('=');
    if (equals == std::string_view::npos) return {text, std::nullopt};
    return {text.substr(0, equals), text.substr(equals + 1)};
  }

  /// Whether a key is there twice. Sorts them: a line can hold more than a thousand, and comparing
  /// each with each would cost a server milliseconds for every such line.
  static bool has_duplicate_keys(std::string_view text) noexcept {
    std::array<std::uint16_t, max_line_length / 2> begins;  // a parameter has two bytes at least
    std::size_t count = 0;
    for (auto rest = text; !rest.empty(); take(rest)) {
      begins[count++] = static_cast<std::uint16_t>(text.size() - rest.size());
    }
    const auto key_at = [text](std::uint16_t begin) {
      auto rest = text.substr(begin);
      return take(rest).key;
    };
    const auto end = begins.begin() + static_cast<std::ptrdiff_t>(count);
    std::sort(begins.begin(), end, [&](auto a, auto b) { return key_at(a) < key_at(b); });
    return std::adjacent_find(begins.begin(), end,
                              [&](auto a, auto b) { return key_at(a) == key_at(b); }) != end;
  }

  static bool is_key(std::string_view key) noexcept {
    const auto is_lower = [](char c) { return c >= 'a' && c <= 'z'; };
    const auto is_key_character = [&](char c) {
      return is_lower(c) || (c >= '0' && c <= '9') || c == '-';
    };
    return !key.empty() && is_lower(key.front()) &&
           std::all_of(key.begin(), key.end(), is_key_character);
  }

  std::string_view text_;
};

// ----------------------------------------------------------------------------------------- fields

/// Reads a size: decimal digits, at most 2^63-1, no sign, no leading zero (section 2).
constexpr std::optional<std::uint64_t> parse_size(std::string_view text) noexcept {
  if (text.empty() || (text.size() > 1 && text.front() == '0')) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (value > (max_file_size - digit) / 10) return std::nullopt;
    value = value * 10 + digit;
  }
  return value;
}

/// Whether a client may call an upload so: 16 to 64 letters, digits, `_` and `-` (section 5).
constexpr bool is_resume_token(std::string_view token) noexcept {
  return token.size() >= 16 && token.size() <= 64 &&
         std::all_of(token.begin(), token.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                  c == '_' || c == '-';
         });
}

/// When a file was last modified: from 1677 to 2262, in nanoseconds.
using file_time = std::chrono::sys_time<std::chrono::nanoseconds>;

/// Reads a time: seconds since 1970, with `-` before them and one to nine digits of a fraction
/// behind them where need be (section 2). One that `file_time` can't hold becomes the nearest.
constexpr std::optional<file_time> parse_time(std::string_view text) noexcept {
  const bool before_1970 = text.starts_with('-');
  if (before_1970) text.remove_prefix(1);
  const auto seconds = parse_size(text.substr(0, text.find('.')));
  if (!seconds) return std::nullopt;
  std::int64_t nanoseconds = 0;
  if (const auto point = text.find('.'); point != std::string_view::npos) {
    const auto fraction = text.substr(point + 1);
    if (fraction.empty() || fraction.size() > 9) return std::nullopt;
    for (std::size_t i = 0; i < 9; ++i) {
      const char c = i < fraction.size() ? fraction[i] : '0';
      if (c < '0' || c > '9') return std::nullopt;
      nanoseconds = nanoseconds * 10 + (c - '0');
    }
  }
  constexpr auto most =
      static_cast<std::uint64_t>(file_time::max().time_since_epoch() / std::chrono::seconds{1});
  if (*seconds >= most) return before_1970 ? file_time::min() : file_time::max();
  const auto distance = std::chrono::seconds{*seconds} + std::chrono::nanoseconds{nanoseconds};
  return file_time{before_1970 ? -distance : distance};
}

inline std::string format_time(file_time time) {
  const auto since = time.time_since_epoch().count();
  constexpr std::uint64_t second = 1'000'000'000;
  // Unsigned, for the distance of the earliest time is more than the type holds.
  const auto distance = since < 0 ? std::uint64_t{0} - static_cast<std::uint64_t>(since)
                                  : static_cast<std::uint64_t>(since);
  std::string text = since < 0 ? "-" : "";
  text += std::to_string(distance / second);
  if (distance % second != 0) {
    const auto fraction = std::to_string(second + distance % second);  // 1, and nine digits
    text.append(".").append(fraction, 1, fraction.find_last_not_of('0'));
  }
  return text;
}

/// Whether `name`, decoded, is a name: UTF-8 of 1 to 255 bytes without NUL, no component of which
/// is empty, `.` or `..` (section 2).
constexpr bool is_name(std::string_view name) noexcept {
  if (name.empty() || name.size() > max_name_length) return false;
  if (name.find('\0') != std::string_view::npos || !detail::is_utf8(name)) return false;
  for (;;) {
    const auto component = name.substr(0, name.find('/'));
    if (component.empty() || component == "." || component == "..") return false;
    if (component.size() == name.size()) return true;
    name.remove_prefix(component.size() + 1);
  }
}

/// Writes a name for the wire: control bytes, `;` and `%` as `%XX` (section 2).
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

/// Reads bytes that are escaped like a name; nothing if a `%` has no two hex digits.
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

/// Reads a name from the wire; nothing if the result is no name.
inline std::optional<std::string> unescape_name(std::string_view text) {
  auto name = unescape(text);
  if (name && !is_name(*name)) name.reset();
  return name;
}

}  // namespace filexfer

#endif
