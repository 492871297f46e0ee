#ifndef PROGRAMS_REACH_HPP
#define PROGRAMS_REACH_HPP

/// \file
/// A client's way to its server, whatever leads there.

#include "common/any_stream.hpp"
#include "common/arguments.hpp"
#include "common/failure.hpp"
#include "common/foreground.hpp"

#include <optional>
#include <string>

namespace programs {

/// Where the server is.
struct server_place {
  address where = tcp_address{"127.0.0.1", 9999};
  std::string trusted;  ///< File of certificates to trust; empty: the system's store.
  std::optional<std::string> command;  ///< Leads there in place of an address.
};

/// A stream to the server; if `why` says that there is none, it is empty.
any_stream reach(foreground& operations, const server_place& place, failure& why);

}  // namespace programs

#endif
