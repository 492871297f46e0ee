#ifndef PROGRAMS_STANDARD_STREAMS_HPP
#define PROGRAMS_STANDARD_STREAMS_HPP

/// \file
/// Standard input and output as a connection.

namespace programs {

/// Descriptors of standard input and output, -1 for one that was closed. They belong to whoever
/// takes them.
struct standard_streams {
  int input = -1;
  int output = -1;
};

/// Takes both away from the process, which keeps /dev/null in their place: what is printed by
/// mistake does not get between the protocol's octets, and the peer sees the end once the stream
/// is closed. To be called before anything is opened, lest it take their numbers. Throws
/// `std::system_error`.
standard_streams take_standard_streams();

}  // namespace programs

#endif
