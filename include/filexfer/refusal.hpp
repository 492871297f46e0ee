#ifndef FILEXFER_REFUSAL_HPP
#define FILEXFER_REFUSAL_HPP

/// \file
/// ERROR lines (the protocol's section 8).

#include <filexfer/error.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace filexfer {

namespace detail {

inline constexpr std::array<std::pair<errc, std::string_view>, 18> wire_codes{{
    {errc::unknown_command, "unknown-command"},
    {errc::bad_request, "bad-request"},
    {errc::line_too_long, "line-too-long"},
    {errc::bad_name, "bad-name"},
    {errc::bad_size, "bad-size"},
    {errc::bad_id, "bad-id"},
    {errc::bad_range, "bad-range"},
    {errc::not_found, "not-found"},
    {errc::too_large, "too-large"},
    {errc::no_space, "no-space"},
    {errc::mismatch, "mismatch"},
    {errc::collision, "collision"},
    {errc::io, "io"},
    {errc::read_only, "read-only"},
    {errc::superseded, "superseded"},
    {errc::busy, "busy"},
    {errc::timeout, "timeout"},
    {errc::shutting_down, "shutting-down"},
}};

}  // namespace detail

/// The refusal that a failure becomes on the wire: itself if it is one of section 8; `no_space` and
/// `bad_name` for what an operating system says in their place; else `io`.
inline errc to_refusal(std::error_code ec) noexcept {
  if (ec == condition::refused && ec != errc::refused) return static_cast<errc>(ec.value());
  if (ec == std::errc::no_space_on_device || ec == std::errc::file_too_large ||
      ec == std::error_code{EDQUOT, std::generic_category()} ||
      ec == std::error_code{EDQUOT, std::system_category()}) {
    return errc::no_space;
  }
  if (ec == std::errc::filename_too_long) return errc::bad_name;
  return errc::io;
}

/// `ERROR <code> <text>`; `refusal` is one of section 8.
inline std::string format_error(errc refusal, std::string_view text) {
  std::string line = "ERROR ";
  for (const auto& [e, code] : detail::wire_codes) {
    if (e == refusal) line += code;
  }
  if (!text.empty()) {
    line += ' ';
    line += text;
  }
  return line;
}

/// The refusal in a reply line; nothing if the line is a yes (section 3).
inline std::optional<errc> parse_error(std::string_view line) noexcept {
  constexpr std::string_view word = "ERROR";
  if (line != word && !line.starts_with("ERROR ")) return std::nullopt;
  line.remove_prefix(std::min(line.size(), word.size() + 1));
  const auto code = line.substr(0, line.find(' '));
  for (const auto& [e, known] : detail::wire_codes) {
    if (known == code) return e;
  }
  return errc::refused;
}

}  // namespace filexfer

#endif
