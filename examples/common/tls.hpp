#ifndef PROGRAMS_TLS_HPP
#define PROGRAMS_TLS_HPP

/// \file
/// What the programs bring to TLS: a certificate, or whom to trust.

#include "common/failure.hpp"

#include <asio/ssl/context.hpp>

#include <memory>
#include <string>

namespace programs {

/// A server's side, with its certificate (and those of its issuers behind it) and its key, both
/// PEM. Nothing, and why, if they can't be read or do not belong together.
std::shared_ptr<asio::ssl::context> server_context(const std::string& certificate,
                                                   const std::string& key, failure& why);

/// A client's side, which trusts the issuers in the file `trusted`, or in the system's store if
/// that is empty. Nothing, and why, if they can't be read.
std::shared_ptr<asio::ssl::context> client_context(const std::string& trusted, failure& why);

}  // namespace programs

#endif
