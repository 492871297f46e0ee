#ifndef FILEXFER_SESSION_EVENT_HPP
#define FILEXFER_SESSION_EVENT_HPP

/// \file
/// What a session tells its owner, for a log.

#include <filexfer/protocol.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <system_error>

namespace filexfer {

/// A command that has ended. The strings come from the peer: show them through `printable`.
struct session_event {
  /// The command; nothing for a line that was none.
  std::optional<command> verb{};
  std::string name{};       ///< Of the file, as far as it is known.
  std::string id{};         ///< In hex, as far as it is known.
  std::uint64_t size = 0;   ///< Of the file; of a list, its entries.
  std::uint64_t bytes = 0;  ///< Of the file that moved on the stream.
  /// Clear for a success. Otherwise the refusal that was answered, or what broke the connection.
  std::error_code error{};
  /// Where the refusal is `errc::io` or the like: what the store said.
  std::error_code cause{};
  /// From the command line's arrival; of small uploads that are shown together, the last one's.
  std::chrono::nanoseconds elapsed{0};
};

/// Called on the session's executor, between two steps; it must not throw.
using session_observer = std::function<void(const session_event&)>;

}  // namespace filexfer

#endif
