#ifndef FILEXFER_OPTIONS_HPP
#define FILEXFER_OPTIONS_HPP

/// \file
/// Limits and deadlines, with the defaults that suit most.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

namespace filexfer {

/// How long a peer may take. Kept by asynchronous operations; the blocking ones wait for ever.
struct time_limits {
  /// For one whole line, counted from before its first byte; so also for the pause between a
  /// client's commands.
  std::chrono::milliseconds line{std::chrono::minutes{1}};
  /// Without any byte moving, while bytes of a file (or replies) are to move.
  std::chrono::milliseconds idle{std::chrono::minutes{1}};
  /// For the reply to a request: the server may be hashing or flushing.
  std::chrono::milliseconds reply{std::chrono::minutes{10}};
  /// For a peer to close after it was sent an ERROR line that ends the connection.
  std::chrono::milliseconds linger{std::chrono::seconds{2}};
  /// Bytes a second that have to move on average, beyond `idle`; 0 for no such bound. n bytes
  /// may take `idle` and n / `least_rate` seconds.
  std::uint64_t least_rate = 1024;
};

/// Bytes that are read, hashed and stored at once. Four such buffers are held during a transfer of
/// more than one, none between transfers.
inline constexpr std::size_t default_chunk_size = std::size_t{256} * 1024;

/// Files up to this size move in one piece, without a hand-over to the work executor, which would
/// cost more than it wins; it is also the least that a chunk holds. Tests make it small.
inline constexpr std::size_t default_small_file_size = std::size_t{64} * 1024;

/// What a client is told when it is made.
struct client_options {
  time_limits limits{};
  std::size_t chunk_size = default_chunk_size;
  std::size_t small_file_size = default_small_file_size;
  /// Files up to this size leave at once when many are uploaded. One that the server refuses was
  /// sent in vain, so for larger ones it is asked first, which costs a round trip or two.
  std::uint64_t max_nowait_size = std::uint64_t{8} * 1024 * 1024;
  /// Commands that are sent and not answered yet, at most, when many files are moved.
  std::size_t max_in_flight = 2048;
  /// Entries that `list_files` returns at most as a vector: a server may be hostile.
  std::size_t max_entries = 1'000'000;
};

/// Whether a server takes uploads.
enum class access { read_write, read_only };

/// What a session is told when it is made.
struct session_options {
  time_limits limits{};
  std::size_t chunk_size = default_chunk_size;
  std::size_t small_file_size = default_small_file_size;
  /// Bytes of the largest file that is taken.
  std::optional<std::uint64_t> max_size{};
  filexfer::access access = filexfer::access::read_write;
  /// Most bytes that are read and dropped after an upload failed half-way, so that the connection
  /// can be kept; if more are left, it is closed. The protocol wants 1 MiB at least.
  std::uint64_t max_drain_size = std::uint64_t{16} * 1024 * 1024;
};

/// What a server is told when it is made.
struct server_options {
  session_options session{};
  /// Connections served at once; a further one is answered `ERROR busy`.
  std::size_t max_connections = 1024;
  /// Of these, from one address; an address is that of a TCP peer, without its port.
  std::size_t max_connections_per_address = std::numeric_limits<std::size_t>::max();
  /// How long transfers may go on after the server was told to stop.
  std::chrono::milliseconds grace{std::chrono::seconds{10}};
  /// The pause after the system had no descriptor left for a connection.
  std::chrono::milliseconds accept_pause{100};
};

}  // namespace filexfer

#endif
