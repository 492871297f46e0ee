#ifndef FILEXFER_AUTHORIZER_HPP
#define FILEXFER_AUTHORIZER_HPP

/// \file
/// What a session asks before it does what its client requests.

#include <filexfer/access_request.hpp>
#include <filexfer/peer_identity.hpp>

#include <functional>

namespace filexfer {

/// Decides whether a peer may have what it requests. Called for each request once it was found to
/// be well-formed, and before the store is asked. It must not block; nothing else happens on the
/// connection until the answer is given, or `time_limits::reply` has passed (`errc::io`).
using authorizer = std::function<void(const peer_identity& peer, const access_request& request,
                                      access_answer answer)>;

}  // namespace filexfer

#endif
