#ifndef PROGRAMS_LOG_HPP
#define PROGRAMS_LOG_HPP

/// \file
/// The server's log, on stderr.

#include <filexfer/session_event.hpp>

#include <chrono>
#include <cstddef>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace programs {

enum class log_format { text, json };

/// Writes a line for each event, unless there are too many about one address: these it counts, and
/// reports their number. Any thread may use it.
///
/// An address is an IPv4 address, an IPv6 network of 64 bits, or all Unix sockets.
class server_log {
 public:
  /// `rate` is the number of lines per second about failures of one address, averaged over ten
  /// seconds. Of completed commands, which are what a log is for, there may be 100 times as many.
  server_log(log_format format, std::size_t rate);
  server_log(const server_log&) = delete;
  server_log& operator=(const server_log&) = delete;

  /// Reports a `server_observer`'s event.
  void report(const std::string& peer, const filexfer::session_event& event);

  void report(std::string_view text);

  /// Reports how many lines were suppressed since the last call. To be called every few seconds.
  void report_suppressed();

 private:
  using time = std::chrono::steady_clock::time_point;

  /// A token bucket needs only one number: when it is full again.
  struct address_state {
    std::string address;
    time failures_full_at;
    time completed_full_at;
    std::size_t suppressed = 0;
  };
  using position = std::list<address_state>::iterator;

  bool may_write(const std::string& from, const filexfer::session_event& event);
  void make_latest(const std::string& from);
  void forget_oldest();
  std::string suppressed_line(const address_state& state) const;

  const log_format format_;
  const std::chrono::nanoseconds failure_token_;  ///< The time in which a bucket gains a line.
  const std::chrono::nanoseconds completed_token_;
  std::mutex mutex_;
  bool was_accept_error_ = false;
  std::list<address_state> states_;  ///< The address with the latest event is the last.
  std::unordered_map<std::string, position> table_;
};

}  // namespace programs

#endif
