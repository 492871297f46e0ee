#ifndef FILEXFER_REFUSAL_HPP
#define FILEXFER_REFUSAL_HPP

/// \file
/// ERROR lines (section 8 of the protocol).

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

inline constexpr std::array<std::pair<errc, std::string_view>, 19> wire_codes{{
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
    {errc::denied, "denied"},
}};

}  // namespace detail

/// Maps an error to the refusal that reports it to a peer.
/// \snippet protocol.cpp to_refusal
///
/// \param ec  An error of the library, a store or the operating system.
/// \return Itself if it is a refusal of section 8; `errc::no_space` or `errc::bad_name` for the
///         operating system's equivalents; else `errc::io`.
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

/// Formats an ERROR line (section 3).
///
/// \param refusal  One of section 8.
/// \param text  For people, on one line; may be empty.
/// \return `ERROR <code> <text>`.
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

/// Recognizes an ERROR line (section 3).
/// \snippet protocol.cpp error_line
///
/// \param line  A reply, without its LF.
/// \return The refusal, `errc::refused` for an unknown code; nothing if the line is no ERROR line.
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
