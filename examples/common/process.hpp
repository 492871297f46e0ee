#ifndef PROGRAMS_PROCESS_HPP
#define PROGRAMS_PROCESS_HPP

/// \file
/// How a program starts, and process-wide settings, to be made before any file is transferred.

#include "common/failure.hpp"

#include <cerrno>
#include <csignal>
#include <exception>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace programs {

/// Opens the standard streams that the parent process has closed, as cron and daemons do. Otherwise
/// the next file, pipe or socket would get such a descriptor, and be read or written in its place.
/// `/dev/null` is opened in the other direction, so that using the stream still fails. To be called
/// before anything is opened. Throws `std::system_error`.
inline void fill_standard_streams() {
  for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; ++stream) {
    if (::fcntl(stream, F_GETFD) != -1) continue;
    // Gets the lowest free descriptor, which is this one.
    if (::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY) == -1)
      throw std::system_error{errno, std::system_category(), "/dev/null"};
  }
}

/// Makes writes to a closed connection, or beyond the file size limit, fail with an error instead
/// of a signal that ends the process.
inline void ignore_write_signals() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

/// Raises the soft limit of open descriptors to the hard one: each connection takes one or two. The
/// usual soft limit of 1024 exists for `select`.
inline void raise_descriptor_limit() {
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

/// The parent process may have passed on an ignored SIGCHLD. The system would then reap this
/// process's children, and their exit status would be lost.
inline void reset_child_signal() { std::signal(SIGCHLD, SIG_DFL); }

/// Runs a program, which then has open standard streams. An exception that escapes is reported and
/// becomes the exit code.
template <class Run>
int run_guarded(std::string_view program, Run run) {
  try {
    fill_standard_streams();
    return run();
  } catch (const std::exception& e) {
    return report(program, {local_error, e.what()});
  }
}

}  // namespace programs

#endif
