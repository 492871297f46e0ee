#ifndef FILEXFER_RESULTS_HPP
#define FILEXFER_RESULTS_HPP

/// \file
/// Parameters and results of a client's operations.

#include <filexfer/entry.hpp>
#include <filexfer/fields.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace filexfer {

/// What to upload, beside the bytes.
///
/// \tparam Digest  The type of ids.
template <class Digest>
struct upload_request {
  std::string name;  ///< Decoded; see `is_name`.
  /// The file's digest, if it is known. A server that holds the file already then adds the name,
  /// and no byte is sent; otherwise it stores nothing that hashes to something else
  /// (`errc::mismatch`).
  std::optional<Digest> expected{};
  std::optional<file_time> modified{};  ///< Kept with the name by a server that keeps times.
  /// Whether the file may be executed; kept with the name by a server that keeps this.
  std::optional<bool> executable{};
  /// A random token, see `is_resume_token`, to resume this upload with if the connection is lost:
  /// another upload of the same file with the same token and `expected` sends what is missing.
  /// Empty for none.
  std::string resume{};
};

/// The result of an upload. With `errc::digest_mismatch` both digests are set, and differ.
///
/// \tparam Digest  The type of ids.
template <class Digest>
struct upload_result {
  Digest local_digest{};   ///< Over the bytes that were sent.
  Digest remote_digest{};  ///< By the server, over the bytes that it stored: the file's id.
  /// False if the server held all bytes already, and only the name was added; then `local_digest`
  /// is the digest that the caller expected.
  bool sent = true;
  /// Bytes that the server kept from an earlier attempt; if there were any, `local_digest` is the
  /// digest that the caller expected.
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;  ///< Bytes that were sent, also after a failure.
};

/// The result of a download. With `errc::digest_mismatch` both digests are set, and differ.
///
/// \tparam Digest  The type of ids.
template <class Digest>
struct download_result {
  file_info<Digest> file;   ///< As the server announced it; `file.id` is the id requested.
  Digest local_digest{};    ///< Over the bytes that arrived, and those that the sink held.
  std::uint64_t bytes = 0;  ///< Bytes that arrived, also after a failure.
};

/// Where an operation's failure originated.
enum class failure_origin {
  none,    ///< There was no failure.
  local,   ///< The caller's arguments, source or sink.
  stream,  ///< The stream broke, a deadline passed, or the operation was cancelled.
  peer,    ///< The peer refused, broke the protocol, or the digests differ.
};

}  // namespace filexfer

#endif
