#ifndef FILEXFER_DETAIL_STREAM_LISTEN_HPP
#define FILEXFER_DETAIL_STREAM_LISTEN_HPP

// What differs between the kinds of endpoint that a server listens on.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/file_lock.hpp>

#include <asio/error.hpp>
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

/// What a listening server has in the file system: for TCP, nothing.
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

/// Keeps other servers from probing, making or removing a socket in the same folder. It does
/// without where the folder can't be locked, or somebody keeps it locked for a second.
inline descriptor lock_folder_of(const asio::local::stream_protocol::endpoint& endpoint) {
  const auto above = std::filesystem::path{endpoint.path()}.parent_path();
  const auto path = above.empty() ? std::filesystem::path{"."} : above;
  std::error_code unlocked;
  auto folder = open_at(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY, unlocked);
  if (folder) lock(folder.get(), unlocked, std::chrono::seconds{1});
  return folder;
}

/// Whether `endpoint` is a socket that nobody listens on any more. Connecting to a file that is no
/// socket is refused too: that one is not ours to remove. Nor is the socket of a server that can
/// take no further connection now; a blocking connect would wait for it.
inline bool is_stale_socket(const asio::local::stream_protocol::endpoint& endpoint) {
  struct stat status {};
  if (::lstat(endpoint.path().c_str(), &status) != 0 || !S_ISSOCK(status.st_mode)) return false;
  const descriptor probe{::socket(AF_UNIX, SOCK_STREAM, 0)};
  if (!probe || ::fcntl(probe.get(), F_SETFL, O_NONBLOCK) != 0) return false;
  const auto size = static_cast<socklen_t>(endpoint.size());
  return ::connect(probe.get(), endpoint.data(), size) != 0 && errno == ECONNREFUSED;
}

/// A socket file that nobody answers at was left by a server that is gone: it is replaced. Returns
/// what tells the new one from others.
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
  struct stat made {};
  ::lstat(endpoint.path().c_str(), &made);
  return made;
}

/// Removes the socket file, if it is still the one that was `made`.
inline void remove_socket_file(const asio::local::stream_protocol::endpoint& endpoint,
                               const struct stat& made) {
  const descriptor locked = lock_folder_of(endpoint);
  struct stat now {};
  if (::lstat(endpoint.path().c_str(), &now) == 0 && same_file(now, made)) {
    ::unlink(endpoint.path().c_str());
  }
}

}  // namespace filexfer::detail

#endif
