#ifndef FILEXFER_SESSION_EVENT_HPP
#define FILEXFER_SESSION_EVENT_HPP

/// \file
/// What a session reports to its owner, for a log.

#include <filexfer/protocol.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <system_error>

namespace filexfer {

/// A command that has ended. The strings come from the peer: display them through `printable`.
struct session_event {
  /// The command; nothing if there was none, or none that the server knows.
  std::optional<command> verb{};
  std::string name{};       ///< The file's name, if known.
  std::string id{};         ///< The file's id in hex, if known.
  std::uint64_t size = 0;   ///< The file's size in bytes; for a list, the number of entries.
  std::uint64_t bytes = 0;  ///< Bytes of the file that were transferred.
  /// Clear for a success; else the refusal that was sent, or what ended the connection.
  std::error_code error{};
  /// The store's error behind `error`, such as behind `errc::io`, if any.
  std::error_code cause{};
  /// Since the command line arrived; for requests that were answered together, since the
  /// latest one.
  std::chrono::nanoseconds elapsed{0};
  /// Whether the connection failed before the peer had sent a single byte, as the checks of load
  /// balancers leave it.
  bool from_silent_peer = false;
};

/// Receives a session's events. Called on the session's executor, between two steps; it must not
/// throw.
using session_observer = std::function<void(const session_event&)>;

/// Called with the peer's address for every command that has ended, and (with an empty
/// `session_event::verb`) for every connection that failed between commands, was rejected, or could
/// not be accepted (then without an address). Called from any thread that runs the context, from
/// several at once; it must not throw.
using server_observer = std::function<void(const std::string& peer, const session_event& event)>;

}  // namespace filexfer

#endif
