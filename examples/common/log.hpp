#ifndef PROGRAMS_LOG_HPP
#define PROGRAMS_LOG_HPP

/// \file
/// The server's log.

#include <filexfer/session_event.hpp>

#include <chrono>
#include <string>
#include <string_view>

namespace programs {

/// A line about an event, without its end. What comes from the peer is escaped.
std::string format_event(std::chrono::system_clock::time_point now, std::string_view peer,
                         const filexfer::session_event& event);

/// Writes lines to stderr. May be called from several threads at once.
void log_event(const std::string& peer, const filexfer::session_event& event);
void log_text(std::string_view text);

}  // namespace programs

#endif
