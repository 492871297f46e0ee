#ifndef FILEXFER_FAULT_PLAN_HPP
#define FILEXFER_FAULT_PLAN_HPP

/// \file
/// The faults that a `fault_stream` injects, and their positions.

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

namespace filexfer {

/// The position of one bit in one direction of a stream.
struct bit_position {
  std::uint64_t byte = 0;  ///< The byte's offset in the stream.
  unsigned bit = 0;        ///< The bit in that byte, 0 (lowest) to 7.
};

/// The faults that a `fault_stream` injects. A default-constructed plan has none.
///
/// A position of N means that N bytes pass first; a read or write that would cross it is cut short
/// there. Of several faults at one position, a reset comes first, then an end or a break, then a
/// stall.
struct fault_plan {
  /// The most bytes that one read transfers; 0 means 1.
  std::size_t max_read = std::numeric_limits<std::size_t>::max();
  /// The most bytes that one write transfers; 0 means 1.
  std::size_t max_write = std::numeric_limits<std::size_t>::max();

  /// From here on reads fail with `asio::error::eof`; writes are not affected.
  std::optional<std::uint64_t> end_after_read = {};
  /// From here on writes fail with `asio::error::broken_pipe`; reads are not affected.
  std::optional<std::uint64_t> break_after_written = {};
  /// From here on both directions fail with `asio::error::connection_reset`. The next operation
  /// that starts closes the next layer, if that is a `closable_stream`; operations in flight that
  /// this aborts report the reset, too.
  std::optional<std::uint64_t> reset_after_read = {};
  /// The same, after this many bytes written.
  std::optional<std::uint64_t> reset_after_written = {};
  /// From here on reads complete only when cancelled, or the stream is closed or destroyed. A
  /// blocking read, which would never return, fails with `asio::error::timed_out` instead.
  std::optional<std::uint64_t> stall_after_read = {};
  /// The same for writes.
  std::optional<std::uint64_t> stall_after_written = {};

  /// The bit of the bytes read that is inverted.
  std::optional<bit_position> flip_read = {};
  /// The bit of the bytes written that is inverted.
  std::optional<bit_position> flip_written = {};
};

}  // namespace filexfer

#endif
