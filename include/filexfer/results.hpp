#ifndef FILEXFER_RESULTS_HPP
#define FILEXFER_RESULTS_HPP

/// \file
/// What a client's operations take and return.

#include <filexfer/entry.hpp>
#include <filexfer/fields.hpp>

#include <optional>
#include <string>

namespace filexfer {

/// What is to be uploaded, beside its octets.
template <class Digest>
struct upload_request {
  std::string name;  ///< Decoded; see `is_name`.
  /// The file's digest, if it is known. A server that holds the file already then adds the name,
  /// and no octet is sent; otherwise it stores nothing that hashes to something else
  /// (`errc::mismatch`).
  std::optional<Digest> expected{};
  std::optional<file_time> modified{};  ///< Kept with the name by a server that keeps times.
};

/// What an upload came to. With `errc::digest_mismatch` both digests are set, and differ.
template <class Digest>
struct upload_result {
  Digest computed_here{};   ///< Over the octets that were sent.
  Digest computed_there{};  ///< By the server, over the octets that it stored: the file's id.
  /// False if the server had the file already, and only the name was added; then `computed_here`
  /// is the id that the caller gave.
  bool sent = true;
};

/// What a download came to. With `errc::digest_mismatch` both digests are set, and differ.
template <class Digest>
struct download_result {
  file_info<Digest> file;  ///< As the server announced it; `file.id` is the id asked for.
  Digest computed_here{};  ///< Over the octets that arrived.
};

/// Where an operation's failure arose.
enum class failure_origin {
  none,    ///< There was none.
  local,   ///< The caller's arguments, source or sink.
  stream,  ///< The stream broke, a deadline passed, or the operation was cancelled.
  peer,    ///< The peer refused, broke the protocol, or the digests differ.
};

}  // namespace filexfer

#endif
