#ifndef FILEXFER_TRANSFER_TYPES_HPP
#define FILEXFER_TRANSFER_TYPES_HPP

/// \file
/// Types for `transfer_pool`: options, concepts for the elements of a range, results, events.

#include <filexfer/any_digest.hpp>
#include <filexfer/entry.hpp>
#include <filexfer/options.hpp>
#include <filexfer/results.hpp>
#include <filexfer/storage.hpp>

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <ranges>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer {

/// Limits and deadlines of a pool.
struct pool_options {
  /// Most connections per job. Further ones join the first while there is work for them.
  std::size_t connections = 1;
  /// How long to retry, counted from when bytes last moved; 0 for a single attempt. A server that
  /// has never answered is not retried.
  std::chrono::milliseconds retry_for{std::chrono::seconds{30}};
  /// Deadline for making one connection.
  std::chrono::milliseconds connect_timeout{std::chrono::seconds{30}};
  /// Most bytes per second over all connections of the pool together, in both directions; 0 for no
  /// limit. Waiting for it does not count as silence: `client.limits` are extended by it. A server
  /// has its own limits, and by default ends a connection with less than 1024 bytes per second.
  std::uint64_t max_rate = 0;
  /// Most files in flight per connection if a job may have several. A job with a single connection
  /// has up to `client.max_in_flight`.
  std::size_t max_shared_in_flight = 64;
  /// Bytes of the largest file that is downloaded in a batch with others, always from offset 0.
  std::uint64_t max_batched_size = std::uint64_t{1024} * 1024;
  /// File descriptors to leave for the rest of the process. A job makes fewer connections if these
  /// would not be left.
  std::size_t reserved_descriptors = 8;
  /// Options of the client on each connection.
  client_options client{};
};

/// An entry of a server's list, whose id may be of any kind of digest.
using listed_file = file_info<any_digest>;

// ---------------------------------------------------------------------------------------- elements

/// An element of a range of files to upload: a cheap, movable value.
///
/// Required:
/// - `name()`: the name under which the server stores the file.
/// - `open(ec)`: returns a `byte_source`, preferably a `seekable_source`. Called on the work
///   executor when it is the file's turn, and once more for each further attempt. The source may
///   briefly outlive the element, so it must not refer to it.
///
/// Optional:
/// - `error()`: why the file can't be sent. If set, the file is not opened, and this is its result.
/// - `id()`: the file's digest as an `any_digest`, empty if unknown.
/// - `may_block()`: whether `open` may block indefinitely, as with standard input. If so,
///   `prepare(ec)` is called first; after it `open` must not block any more.
/// - `may_retry()`: whether another attempt is possible. False for bytes that can be read only
///   once.
/// - `label()`: the name of the file in events, if not `name()`.
/// - `resume_token()`: called after `open`; the token under which a server keeps what arrives if
///   the upload is interrupted, as a `std::string` of 16 to 64 letters, digits, `_` and `-`. It
///   must be the same for the same bytes, name and server only, no two uploads may use it at a
///   time, and nobody else may be able to guess it. If empty, or without this member, the token is
///   random, and only this job can resume the upload.
/// - `was_interrupted()`: called once, before `open`: whether an earlier job may have left bytes
///   under that token. If so, the file is hashed first and sent by itself, as only then the server
///   resumes it. May open the file for a moment.
template <class E>
concept upload_element = std::movable<E> && requires(E& e, std::error_code& ec) {
  { e.name() } -> std::convertible_to<std::string>;
  requires byte_source<std::remove_cvref_t<decltype(e.open(ec))>>;
};

/// An element of a range of files to download: a movable value.
///
/// Required:
/// - `id()`: the file's id at the server, as an `any_digest`.
/// - `open(ec)`: returns a `byte_sink`, preferably a `resumable_sink`. May be called again for
///   another attempt. The sink is destroyed before the file's result is reported.
///
/// Optional:
/// - `error()`: why the file can't be downloaded. If set, it is the file's result.
/// - `size()`: the size in bytes as a `std::optional`. A file of unknown size is not batched.
/// - `existing(ec)`: the file that is already at the target, as an optional, movable
///   `seekable_source`. If its digest is `id()`, nothing is downloaded.
/// - `accept_existing(ec)`: called if the existing file has that digest, for example to set its
///   time.
/// - `may_retry()`: whether another attempt is possible. False once bytes were written to where
///   they can't be taken back.
/// - `name()`: the file's name at the server, if known.
/// - `label()`: the name of the file in events, if not `name()`.
///
/// Its sink may have `keep()`, called when an attempt has failed: the sink then keeps what it has
/// received for the next attempt.
template <class E>
concept download_element = std::movable<E> && requires(E& e, std::error_code& ec) {
  { e.id() } -> std::convertible_to<any_digest>;
  requires byte_sink<std::remove_cvref_t<decltype(e.open(ec))>>;
};

namespace detail {

/// Whether a job refers to the elements, as to those of a container; otherwise it moves them out.
template <class Range>
inline constexpr bool refers_to_elements =
    std::ranges::forward_range<Range> &&
    std::is_lvalue_reference_v<std::ranges::range_reference_t<Range>>;

}  // namespace detail

/// The type of the elements of `Range`.
template <class Range>
using range_element_t = std::remove_cvref_t<std::ranges::range_reference_t<Range>>;

/// Files to upload: a container, whose elements must outlive the job, or a generator, which may
/// make each element when it is incremented. A job iterates once, on the work executor.
template <class Range>
concept upload_elements = std::ranges::input_range<Range> && upload_element<range_element_t<Range>>;
/// Files to download: a range as for `upload_elements`.
template <class Range>
concept download_elements =
    std::ranges::input_range<Range> && download_element<range_element_t<Range>>;

// ----------------------------------------------------------------------------------------- results

/// What a job was doing when it failed.
enum class transfer_phase {
  connecting,    ///< Making a connection.
  greeting,      ///< Asking a newly connected server for its features.
  transferring,  ///< Anything else.
};

/// Why a file's transfer, or a job, failed.
struct transfer_failure {
  std::error_code error{};                              ///< No error on success.
  failure_origin origin = failure_origin::none;         ///< Which side failed.
  transfer_phase phase = transfer_phase::transferring;  ///< During which phase.
  std::string reply{};                                  ///< The server's last reply, escaped.
  std::optional<std::string> end_reason{};  ///< Why the peer ended the stream, if the stream knows.

  /// Whether there was a failure.
  explicit operator bool() const noexcept { return static_cast<bool>(error); }
};

/// The result of one file, independent of its element's type. Both digests are set on success, and
/// with `errc::digest_mismatch`, where they differ.
struct transfer_outcome {
  std::size_t index = 0;       ///< Position of the element in its range, from 0.
  transfer_failure failure{};  ///< Why it failed, if it did.
  bool transferred = false;    ///< On success: false if the target already had the file.
  any_digest local_digest{};   ///< This side's digest of the file.
  any_digest remote_digest{};  ///< The server's digest of the file; of a download its id.
  std::uint64_t size = 0;      ///< In bytes; 0 if unknown.
  std::string name{};          ///< The name at the server; empty if unknown.

  /// Whether there was no failure.
  explicit operator bool() const noexcept { return !failure; }
};

/// The result of one file of a range.
///
/// \tparam Element  The type of the range's elements.
template <class Element>
struct file_result : transfer_outcome {
  Element& element;  ///< In the caller's container; a generator's lives until the callback returns.
};

/// The totals of a job.
struct transfer_totals {
  std::uint64_t transferred = 0;      ///< Files transferred.
  std::uint64_t already_present = 0;  ///< Files that the target already had.
  std::uint64_t failed = 0;           ///< Files reported with a failure.
};

/// What a `pool_event` reports.
enum class pool_event_kind {
  retrying,           ///< The connection, or the file, is retried after a pause.
  fewer_connections,  ///< A further connection failed; the job continues. Once per job.
};

/// A retry, or a connection that a job does without.
struct pool_event {
  pool_event_kind kind = pool_event_kind::retrying;  ///< What happened.
  transfer_failure failure{};                        ///< What led to it.
  std::string name{};     ///< The label of the file concerned; empty if there is none.
  std::size_t index = 0;  ///< That file's position in its range.
};

}  // namespace filexfer

#endif
