#ifndef FILEXFER_DETAIL_LISTEN_HPP
#define FILEXFER_DETAIL_LISTEN_HPP

// What differs between the kinds of endpoint that a server listens on.

#include <filexfer/detail/descriptor.hpp>

#include <asio/error.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/socket_base.hpp>

#include <cerrno>
#include <sstream>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace filexfer::detail {

inline std::string name_of(const asio::ip::tcp::endpoint& endpoint) {
  std::ostringstream text;
  text << endpoint;
  return text.str();
}

inline std::string name_of(const asio::local::stream_protocol::endpoint& endpoint) {
  return std::string{"unix:"}.append(endpoint.path());
}

/// What `max_connections_per_address` counts by.
inline std::string address_of(const asio::ip::tcp::endpoint& endpoint) {
  return endpoint.address().to_string();
}

inline std::string address_of(const asio::local::stream_protocol::endpoint&) { return {}; }

inline void prepare(asio::ip::tcp::socket& socket) {
  std::error_code ignored;  // a peer that has gone already shows at the first read
  socket.set_option(asio::ip::tcp::no_delay{true}, ignored);
}

inline void prepare(asio::local::stream_protocol::socket&) {}

template <class Acceptor>
void bind_and_listen(Acceptor& acceptor, const asio::ip::tcp::endpoint& endpoint) {
  acceptor.open(endpoint.protocol());
  acceptor.set_option(asio::socket_base::reuse_address{true});
  acceptor.bind(endpoint);
  acceptor.listen();
}

/// Whether `endpoint` is a socket that nobody listens on any more. Connecting to a file that is no
/// socket is refused too: that one is not ours to remove. Nor is the socket of a server that can
/// take no further connection now; a blocking connect would wait for it.
inline bool is_left_behind(const asio::local::stream_protocol::endpoint& endpoint) {
  struct stat status {};
  if (::lstat(endpoint.path().c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
  const descriptor probe{::socket(AF_UNIX, SOCK_STREAM, 0)};
  if (!probe || ::fcntl(probe.get(), F_SETFL, O_NONBLOCK) != 0) return false;
  const auto size = static_cast<socklen_t>(endpoint.size());
  return ::connect(probe.get(), endpoint.data(), size) != 0 && errno == ECONNREFUSED;
}

/// A socket file that nobody answers at was left by a server that is gone: it is replaced.
template <class Acceptor>
void bind_and_listen(Acceptor& acceptor, const asio::local::stream_protocol::endpoint& endpoint) {
  acceptor.open(endpoint.protocol());
  std::error_code bind_error;
  acceptor.bind(endpoint, bind_error);
  if (bind_error == asio::error::address_in_use) {
    if (!is_left_behind(endpoint)) throw std::system_error{bind_error, endpoint.path()};
    ::unlink(endpoint.path().c_str());
    acceptor.bind(endpoint);
  } else if (bind_error) {
    throw std::system_error{bind_error, endpoint.path()};
  }
  acceptor.listen();
}

inline void forget(const asio::ip::tcp::endpoint&) {}

inline void forget(const asio::local::stream_protocol::endpoint& endpoint) {
  ::unlink(endpoint.path().c_str());
}

}  // namespace filexfer::detail

#endif
