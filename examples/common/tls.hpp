#ifndef PROGRAMS_TLS_HPP
#define PROGRAMS_TLS_HPP

/// \file
/// What the programs bring to TLS: a certificate, whom to trust, and a handshake.

#include "common/any_stream.hpp"
#include "common/arguments.hpp"
#include "common/connect.hpp"
#include "common/failure.hpp"
#include "common/foreground.hpp"

#include <asio/ssl/context.hpp>

#include <memory>
#include <string>

namespace programs {

/// A server's side, with its certificate (and those of its issuers behind it) and its key, both
/// PEM. Nothing, and why, if they can't be read or do not belong together.
std::shared_ptr<asio::ssl::context> server_context(const std::string& certificate,
                                                   const std::string& key, failure& why);

/// TLS over a socket that is connected to `where`, whose certificate has to be for that host and
/// from an issuer in the file `trusted`, or in the system's store if that is empty. An empty
/// stream, and why, if it is not, or the handshake fails or takes more than half a minute.
any_stream shake_hands(foreground& operations, any_socket socket, const tls_address& where,
                       const std::string& trusted, failure& why);

}  // namespace programs

#endif
