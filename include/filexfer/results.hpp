#ifndef FILEXFER_RESULTS_HPP
#define FILEXFER_RESULTS_HPP

/// \file
/// What a client's operations take and return.

#include <filexfer/entry.hpp>
#include <filexfer/fields.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace filexfer {

/// What is to be uploaded, beside its bytes.
template <class Digest>
struct upload_request {
  std::string name;  ///< Decoded; see `is_name`.
  /// The file's digest, if it is known. A server that holds the file already then adds the name,
  /// and no byte is sent; otherwise it stores nothing that hashes to something else
  /// (`errc::mismatch`).
  std::optional<Digest> expected{};
  std::optional<file_time> modified{};  ///< Kept with the name by a server that keeps times.
  /// A random word that the client chose for this upload, `is_resume_token`, so that it can go on
  /// if the connection is lost: by another upload of the same file with the same word and
  /// `expected`, which sends what is missing. Empty if it will not.
  std::string resume{};
};

/// What an upload came to. With `errc::digest_mismatch` both digests are set, and differ.
template <class Digest>
struct upload_result {
  Digest computed_here{};   ///< Over the bytes that were sent.
  Digest computed_there{};  ///< By the server, over the bytes that it stored: the file's id.
  /// False if the server had all bytes already, and only the name was added; then `computed_here`
  /// is the digest that the caller expected.
  bool sent = true;
  /// Bytes that an earlier attempt had left there; if there were any, `computed_here` is the
  /// digest that the caller expected.
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;  ///< That were sent, also where it failed.
};

/// What a download came to. With `errc::digest_mismatch` both digests are set, and differ.
template <class Digest>
struct download_result {
  file_info<Digest> file;   ///< As the server announced it; `file.id` is the id asked for.
  Digest computed_here{};   ///< Over the bytes that arrived, and those that the sink held.
  std::uint64_t bytes = 0;  ///< That arrived, also where it failed.
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
