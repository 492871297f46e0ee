#include "common/standard_streams.hpp"

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

namespace programs {
namespace {

/// A descriptor above the standard ones, for the same file; -1 if there is none.
int moved_up(int descriptor) {
  const int copy = ::fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
  if (copy == -1 && errno != EBADF) throw std::system_error{errno, std::system_category(), "stdio"};
  return copy;
}

void put_nothing_in_place_of(int descriptor, int mode) {
  const int nothing = ::open("/dev/null", mode);
  if (nothing == -1) throw std::system_error{errno, std::system_category(), "/dev/null"};
  if (nothing == descriptor) return;
  ::dup2(nothing, descriptor);
  ::close(nothing);
}

}  // namespace

standard_streams take_standard_streams() {
  const standard_streams taken{moved_up(STDIN_FILENO), moved_up(STDOUT_FILENO)};
  put_nothing_in_place_of(STDIN_FILENO, O_RDONLY);
  put_nothing_in_place_of(STDOUT_FILENO, O_WRONLY);
  return taken;
}

}  // namespace programs
