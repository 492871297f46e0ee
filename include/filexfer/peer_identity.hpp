#ifndef FILEXFER_PEER_IDENTITY_HPP
#define FILEXFER_PEER_IDENTITY_HPP

/// \file
/// Who is at the other end of a stream.

#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <sstream>
#include <string>

#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

namespace filexfer {

/// What a stream knows of its peer. The system vouches for the ids, the issuer of the certificate
/// for its subject, nobody for the address.
struct peer_identity {
  /// `192.0.2.1:80`, `[2001:db8::1]:80`, or `unix:` with the path of the peer's socket, which
  /// clients rarely have; empty if unknown.
  std::string address{};
  std::optional<uid_t> user_id{};     ///< Of a local socket's peer, when it connected.
  std::optional<gid_t> group_id{};    ///< Likewise.
  std::optional<pid_t> process_id{};  ///< Likewise, on Linux; another process may have it by now.
  std::string certificate_subject{};  ///< As `tls_stream::peer_subject()`; empty if there is none.

  /// Compares all members.
  friend bool operator==(const peer_identity&, const peer_identity&) = default;
};

namespace detail {

/// Sets the ids of a local socket's peer.
inline void add_credentials([[maybe_unused]] int socket, [[maybe_unused]] peer_identity& peer) {
#if defined(__linux__)
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return;
  if (credentials.uid == static_cast<uid_t>(-1)) return;
  peer.user_id = credentials.uid;
  peer.group_id = credentials.gid;
  if (credentials.pid > 0) peer.process_id = credentials.pid;  // 0 in another namespace
#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__NetBSD__)
  uid_t user = 0;
  gid_t group = 0;
  if (::getpeereid(socket, &user, &group) != 0) return;
  peer.user_id = user;
  peer.group_id = group;
#endif
}

template <class Endpoint>
Endpoint endpoint_from(const sockaddr_storage& address, std::size_t size) {
  Endpoint endpoint;
  std::memcpy(endpoint.data(), &address, std::min(size, endpoint.capacity()));
  endpoint.resize(std::min(size, endpoint.capacity()));
  return endpoint;
}

inline peer_identity identify_socket_peer(int socket) {
  peer_identity peer;
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return peer;
  std::ostringstream text;
  if (address.ss_family == AF_INET || address.ss_family == AF_INET6) {
    text << endpoint_from<asio::ip::tcp::endpoint>(address, size);
  } else if (address.ss_family == AF_UNIX) {
    text << "unix:" << endpoint_from<asio::local::stream_protocol::endpoint>(address, size).path();
    add_credentials(socket, peer);
  }
  peer.address = text.str();
  return peer;
}

}  // namespace detail

/// Tells who is at the other end of a connected stream: a socket, a layer over one that has
/// `next_layer()` or `native_handle()`, or any stream with a member `identify_peer()`, such as
/// `any_stream`. Not to be called during a read or write on another thread.
/// \snippet streams.cpp identify_peer
/// \param stream The stream. One of TLS knows its peer's certificate once it has transferred bytes.
/// \return What is known of the peer. Other streams know nothing, nor does a socket whose peer has
///   gone.
template <class Stream>
peer_identity identify_peer(Stream& stream) {
  if constexpr (requires { stream.identify_peer(); }) {
    return stream.identify_peer();
  } else {
    peer_identity peer;
    if constexpr (requires { int{stream.native_handle()}; }) {
      peer = detail::identify_socket_peer(stream.native_handle());
    } else if constexpr (requires { stream.next_layer(); }) {
      peer = identify_peer(stream.next_layer());
    }
    if constexpr (requires { stream.peer_subject(); }) {
      peer.certificate_subject = stream.peer_subject();
    }
    return peer;
  }
}

}  // namespace filexfer

#endif
