#ifndef FILEXFER_OPTIONS_HPP
#define FILEXFER_OPTIONS_HPP

/// \file
/// Limits and deadlines, with defaults that suit most uses.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

namespace filexfer {

class connection_counter;

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

/// Most bytes that are read, hashed and stored at once. A transfer of 32 such chunks or more holds
/// four buffers of this size, a smaller one has chunks of a 32nd of it, but of 256 KiB at least;
/// none is held between transfers.
inline constexpr std::size_t default_chunk_size = std::size_t{1024} * 1024;

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

/// What the clients of a server may do. Lists and downloads that they may not have are refused with
/// `errc::denied`, uploads and removals with `errc::read_only`.
struct permissions {
  bool list = true;      ///< List files.
  bool upload = true;    ///< Upload files, and add names to files.
  bool download = true;  ///< Download files.
  bool remove = false;   ///< Remove names of files, and with the last one the file.
};

/// Options of a `session`.
struct session_options {
  time_limits limits{};                                   ///< Deadlines of `async_run`.
  std::size_t chunk_size = default_chunk_size;            ///< See `default_chunk_size`.
  std::size_t small_file_size = default_small_file_size;  ///< See `default_small_file_size`.
  /// Size of the largest file that is accepted, in bytes; none for the protocol's limit.
  std::optional<std::uint64_t> max_size{};
  /// What clients may do.
  permissions permitted{};
  /// Whether a client that declares a digest that the store holds need not send the bytes: it adds
  /// a name to the file. Without this, whoever knows the digest of a file does not learn from an
  /// upload that it is there, nor give it a name; all bytes are sent.
  bool shortcuts = true;
  /// Most bytes that are read and dropped to keep the connection when an upload is refused or fails
  /// before its end; if more are left, the connection is closed. The protocol requires 1 MiB at
  /// least.
  std::uint64_t max_drain_size = std::uint64_t{16} * 1024 * 1024;
};

/// Connections from one address that a server accepts at once, unless `server_options` tells it
/// otherwise: enough for a client that has 64, the most that `filexfer-client` uses, and replaces
/// them before the server has noticed that they are lost.
inline constexpr std::size_t default_connections_per_address = 128;

/// Connections per second from one address that a server accepts, unless `server_options` tells it
/// otherwise. A host has fewer ports than it would need for more to one endpoint (28,000 on Linux,
/// each taken for a minute), so only a flood exceeds it.
inline constexpr std::size_t default_connection_rate = 500;

/// Options of a `server`.
///
/// An address is an IPv4 address or an IPv6 network of 64 bits, whatever the ports. Unix sockets
/// have none, and the limits per address don't apply to them. Their defaults don't apply to
/// loopback addresses either: behind one may be a proxy or a tunnel, with any number of clients,
/// and a hostile local process has easier ways. Limits that are set apply to all.
struct server_options {
  session_options session{};  ///< Options of every session.
  /// Most connections served at once; a further one is rejected with `ERROR busy`.
  std::size_t max_connections = 1024;
  /// Most of these from one address; `default_connections_per_address` if not set.
  std::optional<std::size_t> max_connections_per_address{};
  /// Most connections accepted per second from one address, as an average over ten seconds: ten
  /// times as many may arrive at once. `default_connection_rate` if not set. A further one is
  /// rejected with `ERROR busy`.
  std::optional<std::size_t> max_connection_rate{};
  /// Counts the connections, for these limits, together with all other servers that have the same
  /// counter. If it is empty, the server counts its own.
  std::shared_ptr<connection_counter> counter{};
  /// How long commands in progress may continue after `async_stop`, until they are cancelled.
  std::chrono::milliseconds grace{std::chrono::seconds{10}};
  /// The pause before accepting again after that failed, most likely for want of descriptors.
  std::chrono::milliseconds accept_pause{100};
};

/// Whether files, and the folders that lead to them, are flushed to the disk (`fsync`) before they
/// are reported as stored. In both cases a file appears under its name only once all its bytes are
/// written, and is whole after a process was killed.
enum class flush_mode {
  on,  ///< What was reported survives a power cut.
  off  ///< Faster on most disks. After a power cut, or a crash of the system, a file that was
       ///< reported shortly before may be missing, empty or incomplete.
};

/// What a store leaves free on its disk: whichever is more.
struct free_space {
  std::uint64_t bytes = 0;  ///< Of its space.
  unsigned percent = 0;     ///< Of the disk's bytes, and of its inodes; at most 100.
};

/// The limits of a `directory_store`, how durable it is, and its log.
struct directory_store_options {
  /// Bytes of all files, with arriving ones, interrupted uploads and damaged files that were set
  /// aside. Each process counts for itself, and recounts before it refuses an upload: approximate
  /// if several processes share a directory.
  std::optional<std::uint64_t> quota{};
  /// Entries of the list, arriving ones included; counted as the quota is.
  std::optional<std::uint64_t> max_names{};

  /// What uploads leave free on the disk, as far as this process knows: an upload is refused before
  /// its first byte if it, and what is still to arrive of others, would take more. Counts what the
  /// file system gives to an ordinary user. What is written beside the store is noticed, too.
  free_space min_free{.bytes = 0, .percent = 1};

  /// How long an interrupted upload is kept, so that it can be resumed.
  std::chrono::seconds partial_age{std::chrono::hours{24}};
  /// Bytes of all interrupted uploads; above that the oldest are removed. They count in the quota,
  /// but are removed for files that need the space.
  std::uint64_t max_partial_size = std::uint64_t{64} << 30;

  /// Whether uploads, added names and removals are flushed before they are reported. If not, the
  /// list may have ids of incomplete files after a power cut; `verify` sets those aside.
  flush_mode flushing = flush_mode::on;

  /// Called, from any thread, with a sentence about what the file system does not support, or about
  /// a stored file that was found damaged.
  std::function<void(std::string_view)> log{};
};

/// The limits of a `memory_store`.
struct memory_store_options {
  std::uint64_t quota = std::uint64_t{1} << 30;  ///< Bytes of all files, arriving ones included.
  std::size_t max_names = 1'000'000;             ///< Entries of the list, arriving ones included.
};

}  // namespace filexfer

#endif
