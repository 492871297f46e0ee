#ifndef FILEXFER_FIELDS_HPP
#define FILEXFER_FIELDS_HPP

/// \file
/// The fields of a line: sizes, names, times and parameters (sections 1 and 2 of the protocol).

#include <filexfer/error.hpp>
#include <filexfer/names.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace filexfer {

/// Length of the longest line in bytes, including its LF and a CR before it (section 1).
inline constexpr std::size_t max_line_length = 4096;
/// Size of the largest file in bytes (section 2).
inline constexpr std::uint64_t max_file_size = std::numeric_limits<std::int64_t>::max();

/// Checks a line for control bytes, which section 1 forbids.
/// \snippet protocol.cpp checks
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
/// \snippet protocol.cpp parameters
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
/// \snippet protocol.cpp numbers
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
/// \snippet protocol.cpp checks
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

/// When a file was last modified: any time that can be written (section 2), in nanoseconds. A
/// `sys_time` of nanoseconds holds only the years from 1677 to 2262, while files can be older or
/// newer.
/// \snippet protocol.cpp file_time
class file_time {
 public:
  /// 1970-01-01T00:00:00Z.
  constexpr file_time() = default;

  /// \param seconds      Since 1970, rounded down. -2^63 can't be written; for exactly this time,
  ///                     the result is `min()`.
  /// \param nanoseconds  From there, 0 to 999,999,999.
  constexpr file_time(std::int64_t seconds, std::int32_t nanoseconds) noexcept
      : seconds_{seconds},
        nanoseconds_{seconds == std::numeric_limits<std::int64_t>::min() && nanoseconds == 0
                         ? 1
                         : nanoseconds} {}

  /// \param since_1970  Up to nanoseconds precise.
  template <class Rep, class Period>
    requires std::is_convertible_v<std::chrono::duration<Rep, Period>, std::chrono::nanoseconds>
  constexpr explicit file_time(std::chrono::duration<Rep, Period> since_1970) noexcept {
    constexpr std::chrono::seconds second{1};
    const auto whole = static_cast<std::int64_t>(since_1970 / second);
    const std::chrono::nanoseconds rest = since_1970 % second;
    const auto nanoseconds = static_cast<std::int32_t>(rest.count());
    *this = nanoseconds < 0 ? file_time{whole - 1, nanoseconds + nanoseconds_per_second}
                            : file_time{whole, nanoseconds};
  }

  /// Implicit, so that a clock's time can be given where a file's time is wanted.
  /// \param time  Up to nanoseconds precise.
  template <class Duration>
    requires std::is_convertible_v<Duration, std::chrono::nanoseconds>
  constexpr file_time(std::chrono::sys_time<Duration> time) noexcept
      : file_time{time.time_since_epoch()} {}

  /// \return The earliest time: 1 ns later than 2^63 s before 1970.
  static constexpr file_time min() noexcept {
    return {std::numeric_limits<std::int64_t>::min(), 1};
  }
  /// \return The latest time: 1 ns earlier than 2^63 s after 1970.
  static constexpr file_time max() noexcept {
    return {std::numeric_limits<std::int64_t>::max(), nanoseconds_per_second - 1};
  }

  /// \return Whole seconds since 1970, rounded down: of -1.5 s, -2.
  constexpr std::int64_t seconds() const noexcept { return seconds_; }
  /// \return Nanoseconds after `seconds()`, 0 to 999,999,999: of -1.5 s, 500,000,000.
  constexpr std::int32_t nanoseconds() const noexcept { return nanoseconds_; }

  /// Converts to the clock's type.
  /// \return The time, or the nearest that the type holds: it begins in 1677 and ends in 2262.
  constexpr std::chrono::sys_time<std::chrono::nanoseconds> clamped_sys_time() const noexcept {
    using result = std::chrono::sys_time<std::chrono::nanoseconds>;
    if (*this <= file_time{result::min()}) return result::min();
    if (*this >= file_time{result::max()}) return result::max();
    // Rounded towards 1970, the seconds don't overflow in the first second of the range.
    const bool before_1970 = seconds_ < 0;
    return result{std::chrono::seconds{before_1970 ? seconds_ + 1 : seconds_} +
                  std::chrono::nanoseconds{before_1970 ? nanoseconds_ - nanoseconds_per_second
                                                       : nanoseconds_}};
  }

  /// Compares in the order of time.
  friend constexpr auto operator<=>(const file_time&, const file_time&) = default;

 private:
  static constexpr std::int32_t nanoseconds_per_second = 1'000'000'000;

  std::int64_t seconds_ = 0;
  std::int32_t nanoseconds_ = 0;
};

static_assert(std::is_trivially_copyable_v<file_time>);

/// Parses a time (section 2).
/// \snippet protocol.cpp numbers
///
/// \param text  Seconds since 1970 with an optional `-` before and an optional fraction of one to
///         nine digits after them.
/// \return The time; nothing if `text` has another form.
constexpr std::optional<file_time> parse_time(std::string_view text) noexcept {
  const bool before_1970 = text.starts_with('-');
  if (before_1970) text.remove_prefix(1);
  const auto size = parse_size(text.substr(0, text.find('.')));
  if (!size) return std::nullopt;
  std::int32_t nanoseconds = 0;
  if (const auto point = text.find('.'); point != std::string_view::npos) {
    const auto fraction = text.substr(point + 1);
    if (fraction.empty() || fraction.size() > 9) return std::nullopt;
    for (std::size_t i = 0; i < 9; ++i) {
      const char c = i < fraction.size() ? fraction[i] : '0';
      if (c < '0' || c > '9') return std::nullopt;
      nanoseconds = nanoseconds * 10 + (c - '0');
    }
  }
  const auto seconds = static_cast<std::int64_t>(*size);
  if (!before_1970) return file_time{seconds, nanoseconds};
  if (nanoseconds == 0) return file_time{-seconds, 0};
  return file_time{-seconds - 1, 1'000'000'000 - nanoseconds};
}

/// Formats a time for the wire (section 2).
///
/// \param time  The time.
/// \return The seconds since 1970, with no more fraction digits than needed.
inline std::string format_time(file_time time) {
  constexpr std::int32_t second = 1'000'000'000;
  const bool before_1970 = time.seconds() < 0;
  std::int64_t seconds = time.seconds();
  std::int32_t nanoseconds = time.nanoseconds();
  if (before_1970 && nanoseconds != 0) {  // both count from 1970 on the wire
    ++seconds;
    nanoseconds = second - nanoseconds;
  }
  std::string text = before_1970 ? "-" : "";
  text += std::to_string(before_1970 ? -seconds : seconds);
  if (nanoseconds != 0) {
    const auto fraction = std::to_string(second + nanoseconds);  // 1, and nine digits
    text.append(".").append(fraction, 1, fraction.find_last_not_of('0'));
  }
  return text;
}

/// Labels of a name, not covered by the digest: what is kept with it, or is to be changed.
struct file_attributes {
  std::optional<file_time> modified{};  ///< When the file was last modified.
  std::optional<bool> executable{};     ///< Whether the file may be executed.
};

}  // namespace filexfer

#endif
