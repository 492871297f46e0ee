#ifndef PROGRAMS_CONNECT_HPP
#define PROGRAMS_CONNECT_HPP

/// \file
/// A client's connection to a server, over TCP or a Unix socket.

#include "common/arguments.hpp"
#include "common/foreground.hpp"

#include <asio/generic/stream_protocol.hpp>

#include <system_error>

namespace programs {

/// A socket of either kind.
using any_socket = asio::generic::stream_protocol::socket;

/// Connects, trying each address that a host's name has, for at most half a minute.
/// For TLS this is the socket below.
any_socket connect(foreground& operations, const address& where, std::error_code& ec);

}  // namespace programs

#endif
