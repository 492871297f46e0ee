#ifndef FILEXFER_TRANSFER_TYPES_HPP
#define FILEXFER_TRANSFER_TYPES_HPP

/// \file
/// What a `transfer_pool` is given and what it tells: options, the elements of ranges, results.

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

/// What a pool is told when it is made.
struct pool_options {
  /// Connections of a job at most. Further ones than the first join while there is work for them.
  std::size_t connections = 1;
  /// How long to try again after a connection broke, since bytes last moved; 0 for one attempt.
  std::chrono::milliseconds retry_for{std::chrono::seconds{30}};
  /// How long making one connection may take.
  std::chrono::milliseconds connect_timeout{std::chrono::seconds{30}};
  /// Files that one connection has in hand while others share the job. One alone takes up to
  /// `client.max_in_flight`.
  std::size_t max_shared_in_flight = 64;
  /// Bytes of the largest file that is downloaded together with others, and so from its start.
  std::uint64_t max_batched_size = std::uint64_t{1024} * 1024;
  /// Descriptors that the process needs for other things than the pool's connections and files.
  std::size_t reserved_descriptors = 8;
  client_options client{};
};

/// An entry of a server's list, whatever its digest.
using listed_file = file_info<any_digest>;

// ---------------------------------------------------------------------------------------- elements

/// One of a range of files to upload: a cheap, movable value.
///
/// - `name()`: under which the file is stored at the server.
/// - `open(ec)`: returns a `byte_source`, best a `seekable_source`. It is called on the work
///   executor when it is the file's turn, and again for each further attempt. The source may
///   outlive the element, for a moment; it must not refer to it.
///
/// It may have:
/// - `error()`: why the file can't be sent. It is not opened then, and that is its result.
/// - `id()`: an `any_digest`, the file's digest where it is known.
/// - `blocks()`: whether it may take as long as somebody else likes until the file can be opened,
///   as with standard input. Then `prepare(ec)` is called first, after which it no longer may.
/// - `may_retry()`: whether another attempt can be made, as it can't where bytes can be read once.
/// - `label()`: what events call the file, if not by its name.
template <class E>
concept upload_element = std::movable<E> && requires(E& e, std::error_code& ec) {
  { e.name() } -> std::convertible_to<std::string>;
  requires byte_source<std::remove_cvref_t<decltype(e.open(ec))>>;
};

/// One of a range of files to download.
///
/// - `id()`: an `any_digest`, the file's id at the server.
/// - `open(ec)`: returns a `byte_sink`, best a `resumable_sink`, and may be called again for
///   another attempt. The sink is destroyed before the file's result is told.
///
/// It may have:
/// - `error()`: why the file can't be fetched, which then is its result.
/// - `size()`: an optional size in bytes. Files of which it is not known are fetched one at a time.
/// - `existing(ec)`: an optional, movable `seekable_source`: the file that stands where this one is
///   to come. If it has the digest that is wanted it is left there.
/// - `settle(ec)`: called where `existing` has that digest, such as to give the file the wanted
///   time.
/// - `may_retry()`: whether another attempt can be made, as it can't once bytes went where they are
///   not to be taken back from.
/// - `name()`: the file's name at the server, where it is known; `label()` as for uploads.
///
/// Its sink may have `keep()`: an attempt has failed, and what came is to be left for the next.
template <class E>
concept download_element = std::movable<E> && requires(E& e, std::error_code& ec) {
  { e.id() } -> std::convertible_to<any_digest>;
  requires byte_sink<std::remove_cvref_t<decltype(e.open(ec))>>;
};

namespace detail {

/// Elements of a container are referred to; those of what is gone through once are moved out.
template <class Range>
inline constexpr bool refers_to_elements =
    std::ranges::forward_range<Range> &&
    std::is_lvalue_reference_v<std::ranges::range_reference_t<Range>>;

}  // namespace detail

/// What a job makes of the elements of `Range`.
template <class Range>
using range_element_t = std::remove_cvref_t<std::ranges::range_reference_t<Range>>;

/// A container of elements, whose elements must live as long as the job; or a generator of them,
/// which may make each when it is incremented. It is gone through once, on the work executor.
template <class Range>
concept upload_elements = std::ranges::input_range<Range> && upload_element<range_element_t<Range>>;
template <class Range>
concept download_elements =
    std::ranges::input_range<Range> && download_element<range_element_t<Range>>;

// ----------------------------------------------------------------------------------------- results

/// What was going on when something failed.
enum class transfer_phase {
  connecting,    ///< A connection was being made.
  greeting,      ///< The server, newly connected, was asked which digest its ids are.
  transferring,  ///< Anything else.
};

/// What a file's transfer, or a job, failed with.
struct transfer_failure {
  std::error_code error{};                       ///< None if it succeeded.
  failure_origin origin = failure_origin::none;  ///< Which side failed.
  transfer_phase phase = transfer_phase::transferring;
  std::string reply{};                      ///< The server's last reply, escaped.
  std::optional<std::string> end_reason{};  ///< Why the other side ended the stream.

  explicit operator bool() const noexcept { return static_cast<bool>(error); }
};

/// What came of one file, whatever its element.
struct transfer_outcome {
  std::size_t index = 0;  ///< Place of the element in its range, from 0.
  transfer_failure failure{};
  bool moved = false;  ///< False if the file was where it was to go already.
  any_digest computed_here{};
  any_digest computed_there{};
  std::uint64_t size = 0;  ///< In bytes, if it is known.
  std::string name{};      ///< At the server, if it is known.

  explicit operator bool() const noexcept { return !failure; }
};

/// What came of one file of a range.
template <class Element>
struct file_result : transfer_outcome {
  Element& element;  ///< Lives until the callback returns, or in the caller's container.
};

/// What a job came to.
struct transfer_totals {
  std::uint64_t moved = 0;          ///< Files that were transferred.
  std::uint64_t already_there = 0;  ///< Files that were where they were to go.
  std::uint64_t failed = 0;         ///< Files of which a failure was told.
};

/// What happens to a job's connections.
struct pool_event {
  enum class kind {
    retrying,           ///< After a pause the connection, or the file, is tried again.
    fewer_connections,  ///< Told once: a further connection can't be had, and the job goes on.
  };
  kind what = kind::retrying;
  transfer_failure why{};
  std::string name{};     ///< Of the file concerned, if there is one; or its label.
  std::size_t index = 0;  ///< Its place in the range.
};

}  // namespace filexfer

#endif
