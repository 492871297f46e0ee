#ifndef FILEXFER_FAULT_PLAN_HPP
#define FILEXFER_FAULT_PLAN_HPP

/// \file
/// What a `fault_stream` does, and where.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

namespace filexfer {

/// One bit of a stream: bit `bit` (0 to 7) of byte `byte`, counted from 0.
struct bit_position {
  std::uint64_t byte = 0;
  unsigned bit = 0;
};

/// What a `fault_stream` does to the bytes. By itself: nothing.
///
/// A position of N says that N bytes pass first; a read or write that would cross it is cut short
/// there. Where several faults stand at one position, a reset comes first, then an end or a break,
/// then a stall.
struct fault_plan {
  /// No read gives, and no write takes, more bytes than this at a time (0 is taken as 1).
  std::size_t max_read = std::numeric_limits<std::size_t>::max();
  std::size_t max_write = std::numeric_limits<std::size_t>::max();

  /// Reads give `asio::error::eof` from here on; writing goes on.
  std::optional<std::uint64_t> end_after_read = {};
  /// Writes give `asio::error::broken_pipe` from here on; reading goes on.
  std::optional<std::uint64_t> break_after_written = {};
  /// Both directions give `asio::error::connection_reset` from here on, also what is pending. The
  /// next layer is closed, if it can be, as soon as an operation meets this.
  std::optional<std::uint64_t> reset_after_read = {};
  std::optional<std::uint64_t> reset_after_written = {};
  /// Reads or writes never complete from here on, until they are cancelled or the stream is closed.
  /// A blocking one would never return: it fails with `asio::error::timed_out` instead.
  std::optional<std::uint64_t> stall_after_read = {};
  std::optional<std::uint64_t> stall_after_written = {};

  /// This bit is turned over on its way.
  std::optional<bit_position> flip_read = {};
  std::optional<bit_position> flip_written = {};
};

}  // namespace filexfer

#endif
