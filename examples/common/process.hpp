#ifndef PROGRAMS_PROCESS_HPP
#define PROGRAMS_PROCESS_HPP

/// \file
/// Process-wide settings, to be made before any file is transferred.

#include <csignal>

#include <sys/resource.h>

namespace programs {

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

}  // namespace programs

#endif
