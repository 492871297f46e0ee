#ifndef FILEXFER_SESSION_LOG_HPP
#define FILEXFER_SESSION_LOG_HPP

/// \file
/// The lines of a server's log.

#include <filexfer/detail/units.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/session_event.hpp>

#include <chrono>
#include <ctime>
#include <string>
#include <string_view>

namespace filexfer {

/// A point in time as ISO 8601 has it, in UTC: `2026-11-28T22:13:01Z`.
inline std::string format_timestamp(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

namespace detail {

inline std::string in_quotes(std::string_view name) {
  std::string text = "\"";
  for (const char c : printable(name)) {
    if (c == '"') text += '\\';
    text += c;
  }
  return text + '"';
}

/// What moved of what there is. An upload of what is here already moves nothing.
inline std::string bytes_of(const session_event& event) {
  const std::string all = std::to_string(event.size) + " bytes";
  return event.bytes == event.size ? all : std::to_string(event.bytes) + " of " + all;
}

}  // namespace detail

/// A line about an event, without its end:
///
///     2026-11-28T22:13:01Z 127.0.0.1:9 UPLOAD "a" 5 bytes 5d41402abc4b2a76b9719d911017c592 0.001
///     s
///
/// \param peer  as `server::observe` tells it; empty is shown as `-`. What comes from the peer is
///         escaped.
inline std::string format_event(std::chrono::system_clock::time_point time, std::string_view peer,
                                const session_event& event) {
  const bool is_transfer = event.verb == command::upload || event.verb == command::download;
  std::string line = format_timestamp(time) + ' ';
  line += peer.empty() ? "-" : printable(peer);
  if (event.verb) (line += ' ') += to_string(*event.verb);
  if (!event.name.empty()) line += ' ' + detail::in_quotes(event.name);
  if (is_transfer && !event.name.empty()) line += ' ' + detail::bytes_of(event);
  if (event.verb == command::list_files) line += ' ' + std::to_string(event.size) + " entries";
  if (!event.id.empty()) line += ' ' + printable(event.id);
  if (event.error) {
    line += " failed: " + event.error.message();
    if (event.cause && event.cause != event.error) line += " (" + event.cause.message() + ')';
  }
  if (event.verb) line += ' ' + detail::fixed(detail::seconds(event.elapsed), 3) + " s";
  if (is_transfer && event.bytes > 0) line += ' ' + detail::rate(event.bytes, event.elapsed);
  return line;
}

}  // namespace filexfer

#endif
