#ifndef FILEXFER_SESSION_LOG_HPP
#define FILEXFER_SESSION_LOG_HPP

/// \file
/// Lines for a server's log.

#include <filexfer/detail/units.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/session_event.hpp>

#include <chrono>
#include <ctime>
#include <string>
#include <string_view>

namespace filexfer {

/// Formats a time for a log.
/// \snippet values.cpp format_timestamp
///
/// \param time  The time.
/// \return The time in UTC as in ISO 8601: `2026-11-28T22:13:01Z`.
inline std::string format_timestamp(std::chrono::system_clock::time_point time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  return {text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

namespace detail {

inline std::string quoted(std::string_view name) {
  std::string text = "\"";
  for (const char c : printable(name)) {
    if (c == '"') text += '\\';
    text += c;
  }
  return text + '"';
}

/// How many bytes of the file were transferred: none in an upload of a file that is stored already.
inline std::string format_bytes(const session_event& event) {
  const std::string all = std::to_string(event.size) + " bytes";
  return event.bytes == event.size ? all : std::to_string(event.bytes) + " of " + all;
}

}  // namespace detail

/// Formats an event for a log. Text from the peer is escaped.
///
///     2026-11-28T22:13:01Z 127.0.0.1:9 UPLOAD "a" 5 bytes <id> 0.001 s 0.0 MB/s
///
/// \snippet values.cpp format_event
///
/// \param time  When the command ended.
/// \param peer  The peer's address, as `server::observe` reports it; if empty, `-` is written.
/// \param event  The event.
/// \return A line, without its end.
inline std::string format_event(std::chrono::system_clock::time_point time, std::string_view peer,
                                const session_event& event) {
  const bool is_transfer = event.verb == command::upload || event.verb == command::download;
  std::string line = format_timestamp(time) + ' ';
  line += peer.empty() ? "-" : printable(peer);
  if (event.verb) (line += ' ') += to_string(*event.verb);
  if (!event.name.empty()) line += ' ' + detail::quoted(event.name);
  if (is_transfer && !event.name.empty()) line += ' ' + detail::format_bytes(event);
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
