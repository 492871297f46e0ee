#ifndef FILEXFER_DETAIL_STREAM_LISTEN_HPP
#define FILEXFER_DETAIL_STREAM_LISTEN_HPP

// The operations that differ between the kinds of endpoint that a server listens on.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/file_lock.hpp>
#include <filexfer/detail/stream/keepalive.hpp>
#include <filexfer/ip_network.hpp>

#include <asio/error.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/socket_base.hpp>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <sstream>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace filexfer::detail {

inline std::string endpoint_name(const asio::ip::tcp::endpoint& endpoint) {
  std::ostringstream text;
  text << endpoint;
  return text.str();
}

inline std::string endpoint_name(const asio::local::stream_protocol::endpoint& endpoint) {
  return std::string{"unix:"}.append(endpoint.path());
}

/// What connections are counted by: the bytes of an IPv4 address, or of the network of an IPv6
/// address, in which a host may choose the other 8 bytes itself.
inline std::string counted_address(const asio::ip::tcp::endpoint& endpoint) {
  const asio::ip::address address = unmapped_address(endpoint.address());
  if (address.is_v4()) {
    const auto bytes = address.to_v4().to_bytes();
    return {bytes.begin(), bytes.end()};
  }
  const auto bytes = address.to_v6().to_bytes();
  return {bytes.begin(), bytes.begin() + 8};
}

inline std::string counted_address(const asio::local::stream_protocol::endpoint&) { return {}; }

inline bool is_loopback(const asio::ip::tcp::endpoint& endpoint) {
  return unmapped_address(endpoint.address()).is_loopback();
}

inline bool is_loopback(const asio::local::stream_protocol::endpoint&) { return false; }

inline void set_socket_options(asio::ip::tcp::socket& socket) { set_tcp_options(socket); }

inline void set_socket_options(asio::local::stream_protocol::socket&) {}

/// A TCP server has no socket file.
struct no_file {};

template <class Acceptor>
no_file bind_and_listen(Acceptor& acceptor, const asio::ip::tcp::endpoint& endpoint) {
  acceptor.open(endpoint.protocol());
  acceptor.set_option(asio::socket_base::reuse_address{true});
  acceptor.bind(endpoint);
  acceptor.listen();
  return {};
}

inline void remove_socket_file(const asio::ip::tcp::endpoint&, no_file) {}

/// Locks the folder, so that no other server probes, makes or removes a socket in it meanwhile.
/// Continues without the lock if the folder can't be locked, or stays locked for a second.
inline descriptor lock_folder_of(const asio::local::stream_protocol::endpoint& endpoint) {
  const auto parent = std::filesystem::path{endpoint.path()}.parent_path();
  const auto path = parent.empty() ? std::filesystem::path{"."} : parent;
  std::error_code ignored;
  auto folder = open_at(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY, ignored);
  if (folder) lock(folder.get(), ignored, std::chrono::seconds{1});
  return folder;
}

/// Whether `endpoint` is a socket that no process listens on. A file that is not a socket refuses
/// connections, too, but must not be removed. Nor must the socket of a server whose backlog is
/// full, on which a blocking connect would wait.
inline bool is_stale_socket(const asio::local::stream_protocol::endpoint& endpoint) {
  struct stat status {};
  if (::lstat(endpoint.path().c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
  const descriptor probe{::socket(AF_UNIX, SOCK_STREAM, 0)};
  if (!probe || ::fcntl(probe.get(), F_SETFL, O_NONBLOCK) != 0) return false;
  const auto size = static_cast<socklen_t>(endpoint.size());
  return ::connect(probe.get(), endpoint.data(), size) != 0 && errno == ECONNREFUSED;
}

/// Replaces the socket file of a server that is gone. Returns the status of the new file, which
/// identifies it.
template <class Acceptor>
struct stat bind_and_listen(Acceptor& acceptor,
                            const asio::local::stream_protocol::endpoint& endpoint) {
  const descriptor locked = lock_folder_of(endpoint);
  acceptor.open(endpoint.protocol());
  std::error_code bind_error;
  acceptor.bind(endpoint, bind_error);
  if (bind_error == asio::error::address_in_use && is_stale_socket(endpoint)) {
    ::unlink(endpoint.path().c_str());
    acceptor.bind(endpoint, bind_error);
  }
  if (bind_error) throw std::system_error{bind_error, endpoint.path()};
  acceptor.listen();
  struct stat created {};
  ::lstat(endpoint.path().c_str(), &created);
  return created;
}

/// Removes the socket file, if it is still the one that was `created`.
inline void remove_socket_file(const asio::local::stream_protocol::endpoint& endpoint,
                               const struct stat& created) {
  const descriptor locked = lock_folder_of(endpoint);
  struct stat current {};
  if (::lstat(endpoint.path().c_str(), &current) == 0 && same_file(current, created)) {
    ::unlink(endpoint.path().c_str());
  }
}

}  // namespace filexfer::detail

#endif
