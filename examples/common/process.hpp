#ifndef PROGRAMS_PROCESS_HPP
#define PROGRAMS_PROCESS_HPP

/// \file
/// What a process that moves files sets right before it begins.

#include <algorithm>
#include <csignal>
#include <cstddef>

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

/// Sees to it that so many descriptors can be open, if that may be; how many can.
inline std::size_t take_descriptors(std::size_t wanted) {
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  if (limit.rlim_cur < wanted) {
    const rlim_t before = limit.rlim_cur;
    limit.rlim_cur = std::min<rlim_t>(wanted, limit.rlim_max);
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return before;
  }
  return std::min<rlim_t>(wanted, limit.rlim_cur);
}

}  // namespace programs

#endif
