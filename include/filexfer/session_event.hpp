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
  /// Since the command line arrived; for small uploads committed together, since the latest one.
  std::chrono::nanoseconds elapsed{0};
};

/// Receives a session's events. Called on the session's executor, between two steps; it must not
/// throw.
using session_observer = std::function<void(const session_event&)>;

}  // namespace filexfer

#endif
