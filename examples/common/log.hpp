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

/// Writes each line with a single `write`, so that lines of several threads and processes don't
/// mix.
inline void write_log(std::string line) {
  line += '\n';
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, line.data(), line.size());
}

inline void log_event(const std::string& peer, const filexfer::session_event& event) {
  if (event.verb == filexfer::command::features && !event.error) return;  // concerns no file
  // Out of descriptors, a server fails to accept repeatedly: that is logged once.
  static std::atomic<bool> was_logged = false;
  const bool is_accept_error = peer.empty() && event.error;
  if (was_logged.exchange(is_accept_error) && is_accept_error) return;
  write_log(format_event(std::chrono::system_clock::now(), peer, event));
}

inline void log_text(std::string_view text) {
  write_log(filexfer::format_timestamp(std::chrono::system_clock::now()) + ' ' +
            filexfer::printable(text));
}

}  // namespace programs

#endif
