#ifndef FILEXFER_OPTIONS_HPP
#define FILEXFER_OPTIONS_HPP

/// \file
/// Limits and deadlines, with defaults that suit most uses.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>

namespace filexfer {

/// How long a peer may take. Only asynchronous operations enforce it; blocking ones wait for ever.
struct time_limits {
  /// For one whole line, including the wait for its first byte, and so for the pause between a
  /// client's commands.
  std::chrono::milliseconds line{std::chrono::minutes{1}};
  /// Without progress, while a file's bytes or replies are being read or written.
  std::chrono::milliseconds idle{std::chrono::minutes{1}};
  /// For the reply to a request: the server may be hashing or flushing. Also how long a server
  /// waits for another connection to release a resume token, even in a blocking operation.
  std::chrono::milliseconds reply{std::chrono::minutes{10}};
  /// For a peer to close after an ERROR line that ends the connection was sent to it. Also how
  /// long a client whose write failed waits for such a line.
  std::chrono::milliseconds linger{std::chrono::seconds{2}};
  /// Minimum average rate in bytes per second, beyond `idle`; 0 for none. n bytes may take at most
  /// `idle` plus n / `least_rate` seconds.
  std::uint64_t least_rate = 1024;
};

/// Bytes that are read, hashed and stored at once. A transfer of more than one such chunk holds up
/// to four buffers of this size; none is held between transfers.
inline constexpr std::size_t default_chunk_size = std::size_t{256} * 1024;

/// Size in bytes up to which a file moves in one piece, without a hand-over to the work executor,
/// which would cost more than it gains. Also the minimum size of a chunk. Tests make it small.
inline constexpr std::size_t default_small_file_size = std::size_t{64} * 1024;

/// Options of a `client`.
struct client_options {
  time_limits limits{};                                   ///< Deadlines of asynchronous operations.
  std::size_t chunk_size = default_chunk_size;            ///< See `default_chunk_size`.
  std::size_t small_file_size = default_small_file_size;  ///< See `default_small_file_size`.
  /// Size in bytes up to which `upload_all` sends a file without waiting for the ready line. The
  /// bytes of a refused file were sent in vain, so larger files wait for it, which costs a round
  /// trip or two.
  std::uint64_t max_nowait_size = std::uint64_t{8} * 1024 * 1024;
  /// Most commands in flight when many files are moved.
  std::size_t max_in_flight = 2048;
  /// Most entries that `list_files` accepts into a vector, since a server may be hostile.
  std::size_t max_entries = 1'000'000;
};

/// Whether a server accepts uploads.
enum class access {
  read_write,  ///< It does.
  read_only,   ///< It refuses them with `errc::read_only`.
};

/// Options of a `session`.
struct session_options {
  time_limits limits{};                                   ///< Deadlines of `async_run`.
  std::size_t chunk_size = default_chunk_size;            ///< See `default_chunk_size`.
  std::size_t small_file_size = default_small_file_size;  ///< See `default_small_file_size`.
  /// Size of the largest file that is accepted, in bytes; none for the protocol's limit.
  std::optional<std::uint64_t> max_size{};
  /// Whether uploads are accepted.
  filexfer::access access = filexfer::access::read_write;
  /// Most bytes that are read and dropped to keep the connection when an upload is refused or fails
  /// before its end; if more are left, the connection is closed. The protocol requires 1 MiB at
  /// least.
  std::uint64_t max_drain_size = std::uint64_t{16} * 1024 * 1024;
};

/// Options of a `server`.
struct server_options {
  session_options session{};  ///< Options of every session.
  /// Most connections served at once; a further one is rejected with `ERROR busy`.
  std::size_t max_connections = 1024;
  /// Most of these from one TCP address, whatever the port. Local peers have no address.
  std::size_t max_connections_per_address = std::numeric_limits<std::size_t>::max();
  /// How long commands in progress may continue after `async_stop`, until they are cancelled.
  std::chrono::milliseconds grace{std::chrono::seconds{10}};
  /// The pause before accepting again after that failed, most likely for want of descriptors.
  std::chrono::milliseconds accept_pause{100};
};

}  // namespace filexfer

#endif
