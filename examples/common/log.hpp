#ifndef PROGRAMS_LOG_HPP
#define PROGRAMS_LOG_HPP

/// \file
/// The server's log, on stderr. Any thread may write to it.

#include <filexfer/filexfer.hpp>

#include <atomic>
#include <chrono>
#include <string>
#include <string_view>

#include <unistd.h>

namespace programs {

/// One `write` a line, so that the lines of several threads and processes stay apart.
inline void write_log(std::string line) {
  line += '\n';
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

inline void log_event(const std::string& peer, const filexfer::session_event& event) {
  if (event.verb == filexfer::command::features && !event.error) return;  // of no file
  // Without descriptors a server asks for a connection again and again: one line tells it.
  static std::atomic<bool> said_so = false;
  const bool no_connection = peer.empty() && event.error;
  if (said_so.exchange(no_connection) && no_connection) return;
  write_log(format_event(std::chrono::system_clock::now(), peer, event));
}

inline void log_text(std::string_view text) {
  write_log(filexfer::format_timestamp(std::chrono::system_clock::now()) + ' ' +
            filexfer::printable(text));
}

}  // namespace programs

#endif
