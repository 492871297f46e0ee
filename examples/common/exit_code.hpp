#ifndef PROGRAMS_EXIT_CODE_HPP
#define PROGRAMS_EXIT_CODE_HPP

/// \file
/// How the programs end.

namespace programs {

enum exit_code : int {
  done = 0,
  wrong_digest = 1,  ///< What arrived is not what was sent.
  wrong_usage = 2,
  refused = 3,     ///< The server said no.
  broken = 4,      ///< The connection failed or broke, or the peer broke the protocol.
  local_file = 5,  ///< A file or a store on this side could not be read or written.
  interrupted = 130
};

}  // namespace programs

#endif
