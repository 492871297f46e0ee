#ifndef FILEXFER_ACCESS_REQUEST_HPP
#define FILEXFER_ACCESS_REQUEST_HPP

/// \file
/// A request that a session's owner is asked to allow.

#include <filexfer/protocol.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <system_error>

namespace filexfer {

/// A request, as far as its lines have been read. The strings come from the peer.
struct access_request {
  command verb{};      ///< Never `features`, which tells nothing of the store.
  std::string name{};  ///< To upload or to remove; for a list, its prefix. Empty for a download.
  std::string id{};    ///< To download or to remove, and that an upload declares, in hex.
  std::uint64_t size = 0;  ///< Of an upload, in bytes.
};

/// Answers an `access_request`. May be called at once or later, from any thread; only the first
/// call counts. If all copies are destroyed without a call, the answer is
/// `std::errc::operation_canceled`.
///
/// The argument is clear to allow the request. A refusal of section 8 of the protocol is sent to
/// the client: `errc::denied`, or `errc::not_found` to tell nothing. For any other error,
/// `errc::io` is sent, and the error is the event's `cause`.
using access_answer = std::function<void(std::error_code)>;

}  // namespace filexfer

#endif
