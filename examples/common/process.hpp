#ifndef PROGRAMS_PROCESS_HPP
#define PROGRAMS_PROCESS_HPP

/// \file
/// What a process that moves files sets right before it begins.

#include <csignal>

#include <sys/resource.h>

namespace programs {

/// A peer that has gone and a file that may not grow are errors of one transfer, no reason to die.
inline void ignore_signals_of_writes() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

/// Every connection takes a descriptor or two; the usual soft limit of 1024 is there for `select`.
inline void take_all_descriptors() {
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

/// Whoever started this process may have had its own children reaped by the system. How a command
/// has ended would not be known then.
inline void await_children() { std::signal(SIGCHLD, SIG_DFL); }

}  // namespace programs

#endif
