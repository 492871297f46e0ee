#ifndef FILEXFER_DETAIL_STREAM_KEEPALIVE_HPP
#define FILEXFER_DETAIL_STREAM_KEEPALIVE_HPP

// The options of the TCP sockets of both ends.

#include <asio/ip/tcp.hpp>
#include <asio/socket_base.hpp>

#include <chrono>
#include <system_error>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace filexfer::detail {

/// How long a connection may be without traffic until the system probes it.
inline constexpr std::chrono::seconds keepalive_idle{60};
/// The time between probes.
inline constexpr std::chrono::seconds keepalive_interval{15};
/// Probes without an answer that end the connection.
inline constexpr int keepalive_probes = 4;
/// How long bytes may be unacknowledged, or unwanted by the peer, until the connection ends. There
/// are no probes meanwhile, and the system would retransmit for a quarter of an hour. As long as
/// an idle connection takes to end.
inline constexpr std::chrono::milliseconds unacknowledged_timeout =
    keepalive_idle + keepalive_probes * keepalive_interval;

/// Sets what every TCP connection has: no delay, and what makes it fail within two minutes if the
/// peer, or the network, is gone without a word. Blocking operations have no deadline, and a NAT
/// forgets a connection that is silent while the peer hashes a large file.
///
/// Errors are ignored: if the peer is gone, the first read fails; without the other options, a
/// connection works as well.
inline void set_tcp_options(asio::ip::tcp::socket& socket) {
  std::error_code ignored;
  socket.set_option(asio::ip::tcp::no_delay{true}, ignored);
  socket.set_option(asio::socket_base::keep_alive{true}, ignored);
  [[maybe_unused]] const auto set = [&socket](int name, auto value) {
    const int number = static_cast<int>(value);
    ::setsockopt(socket.native_handle(), IPPROTO_TCP, name, &number, sizeof number);
  };
#if defined(TCP_KEEPIDLE)
  set(TCP_KEEPIDLE, keepalive_idle.count());
#elif defined(TCP_KEEPALIVE)  // macOS
  set(TCP_KEEPALIVE, keepalive_idle.count());
#endif
#if defined(TCP_KEEPINTVL) && defined(TCP_KEEPCNT)
  set(TCP_KEEPINTVL, keepalive_interval.count());
  set(TCP_KEEPCNT, keepalive_probes);
#endif
#if defined(TCP_USER_TIMEOUT)
  set(TCP_USER_TIMEOUT, unacknowledged_timeout.count());
#endif
}

}  // namespace filexfer::detail

#endif
