#ifndef FILEXFER_FIELDS_HPP
#define FILEXFER_FIELDS_HPP

/// \file
/// The fields of a line: sizes, names, times and parameters (sections 1 and 2 of the protocol).

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

/// Length of the longest line in bytes, including its LF and a CR before it (section 1).
inline constexpr std::size_t max_line_length = 4096;
/// Length of the longest name in bytes, decoded (section 2).
inline constexpr std::size_t max_name_length = 255;
/// Size of the largest file in bytes (section 2).
inline constexpr std::uint64_t max_file_size = std::numeric_limits<std::int64_t>::max();

/// Checks a line for control bytes, which section 1 forbids.
///
/// \param line  Without its end.
/// \return Whether it has none.
constexpr bool is_clean_line(std::string_view line) noexcept {
  return std::all_of(line.begin(), line.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && byte != 0x7F;
  });
}

// ------------------------------------------------------------------------------------- parameters

/// `;key` or `;key=value` after a line's fixed fields (section 2). A view of the line.
struct parameter {
  std::string_view key;                   ///< Without the `;`.
  std::optional<std::string_view> value;  ///< As on the wire; nothing for a flag.
};

/// The parameters of one line. A view of the line, which must outlive it.
class parameters {
 public:
  /// Makes an empty one.
  parameters() = default;

  /// Checks the parameters of a line. Unknown keys are valid.
  ///
  /// \param text  Empty, or begins with `;`; must outlive the result.
  /// \param ec  `errc::bad_request` if a key is malformed, missing or duplicate, a value is empty,
  ///         or `text` is longer than a line; else cleared.
  /// \return The parameters; empty after an error.
  static parameters parse(std::string_view text, std::error_code& ec) {
    ec.clear();
    bool valid = text.size() <= max_line_length;
    for (auto rest = text; valid && !rest.empty();) {
      const auto next = take_next(rest);
      const bool lacks_value = next.value && next.value->empty();
      valid = is_key(next.key) && !lacks_value;
    }
    if (valid && !has_duplicate_keys(text)) return parameters{text};
    ec = errc::bad_request;
    return {};
  }

  /// Finds a parameter.
  ///
  /// \param key  Its key.
  /// \return The parameter; nothing if the line does not have it.
  std::optional<parameter> find(std::string_view key) const noexcept {
    for (auto rest = text_; !rest.empty();) {
      const auto next = take_next(rest);
      if (next.key == key) return next;
    }
    return std::nullopt;
  }

  /// Finds the value of a parameter.
  ///
  /// \param key  Its key.
  /// \param ec  `errc::bad_request` if the parameter has no value; else left as it is.
  /// \return The value as on the wire; nothing if the line does not have the parameter.
  std::optional<std::string_view> value(std::string_view key, std::error_code& ec) const noexcept {
    const auto found = find(key);
    if (!found) return std::nullopt;
    if (!found->value) ec = errc::bad_request;
    return found->value;
  }

  /// Finds a flag.
  ///
  /// \param key  Its key.
  /// \param ec  `errc::bad_request` if the flag has a value; else left as it is.
  /// \return Whether the line has the flag.
  bool flag(std::string_view key, std::error_code& ec) const noexcept {
    const auto found = find(key);
    if (found && found->value) ec = errc::bad_request;
    return found && !found->value;
  }

 private:
  explicit parameters(std::string_view text) noexcept : text_{text} {}

  /// Removes the first parameter from `rest`, which is not empty.
  static parameter take_next(std::string_view& rest) noexcept {
    rest.remove_prefix(1);  // the `;`
    const auto text = rest.substr(0, rest.find(';'));
    rest.remove_prefix(text.size());
    const auto equals = text.find('=');
    if (equals == std::string_view::npos) return {text, std::nullopt};
    return {text.substr(0, equals), text.substr(equals + 1)};
  }

  /// Sorts the keys: a line can hold more than a thousand, and comparing each with each would cost
  /// a server milliseconds for every such line.
  static bool has_duplicate_keys(std::string_view text) noexcept {
    std::array<std::uint16_t, max_line_length / 2> offsets;  // a parameter has at least two bytes
    std::size_t count = 0;
    for (auto rest = text; !rest.empty(); take_next(rest)) {
      offsets[count++] = static_cast<std::uint16_t>(text.size() - rest.size());
    }
    const auto key_at = [text](std::uint16_t offset) {
      auto rest = text.substr(offset);
      return take_next(rest).key;
    };
    const auto end = offsets.begin() + static_cast<std::ptrdiff_t>(count);
    std::sort(offsets.begin(), end, [&](auto a, auto b) { return key_at(a) < key_at(b); });
    return std::adjacent_find(offsets.begin(), end,
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

/// Parses a size or another number of that form (section 2).
///
/// \param text  Decimal digits without a sign or leading zeros, at most 2^63-1.
/// \return The number; nothing if `text` has another form.
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

/// Checks a resume token (section 5).
///
/// \param token  The token.
/// \return Whether it has 16 to 64 characters, all of them letters, digits, `_` and `-`.
constexpr bool is_resume_token(std::string_view token) noexcept {
  return token.size() >= 16 && token.size() <= 64 &&
         std::all_of(token.begin(), token.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                  c == '_' || c == '-';
         });
}

/// When a file was last modified: a time from 1677 to 2262, in nanoseconds.
using file_time = std::chrono::sys_time<std::chrono::nanoseconds>;

/// Parses a time (section 2).
///
/// \param text  Seconds since 1970 with an optional `-` before and an optional fraction of one to
///         nine digits after them.
/// \return The time, clamped to the range of `file_time`; nothing if `text` has another form.
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
  constexpr auto max_seconds =
      static_cast<std::uint64_t>(file_time::max().time_since_epoch() / std::chrono::seconds{1});
  if (*seconds >= max_seconds) return before_1970 ? file_time::min() : file_time::max();
  const auto distance = std::chrono::seconds{*seconds} + std::chrono::nanoseconds{nanoseconds};
  return file_time{before_1970 ? -distance : distance};
}

/// Formats a time for the wire (section 2).
///
/// \param time  The time.
/// \return The seconds since 1970, with no more fraction digits than needed.
inline std::string format_time(file_time time) {
  const auto count = time.time_since_epoch().count();
  constexpr std::uint64_t second = 1'000'000'000;
  // Unsigned: the magnitude of the earliest time overflows the signed type.
  const auto magnitude = count < 0 ? std::uint64_t{0} - static_cast<std::uint64_t>(count)
                                   : static_cast<std::uint64_t>(count);
  std::string text = count < 0 ? "-" : "";
  text += std::to_string(magnitude / second);
  if (magnitude % second != 0) {
    const auto fraction = std::to_string(second + magnitude % second);  // 1, and nine digits
    text.append(".").append(fraction, 1, fraction.find_last_not_of('0'));
  }
  return text;
}

/// Checks a name (section 2).
///
/// \param name  Decoded.
/// \return Whether it is UTF-8 of 1 to 255 bytes without NUL, with no component between `/` that is
///         empty, `.` or `..`.
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

/// Escapes a name for the wire (section 2).
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
