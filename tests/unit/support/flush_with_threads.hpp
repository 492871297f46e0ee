#ifndef FILEXFER_TESTS_SUPPORT_FLUSH_WITH_THREADS_HPP
#define FILEXFER_TESTS_SUPPORT_FLUSH_WITH_THREADS_HPP

#include "support/scratch_folder.hpp"

#include <filexfer/publication.hpp>

#include <array>
#include <chrono>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

namespace test {

/// Starts the threads that flush files. UndefinedBehaviorSanitizer needs descriptors to see that an
/// object with virtual functions is sound, but only for the first one of a class: to be called
/// before descriptors run out where files are flushed.
inline void flush_with_threads() {
  const scratch_folder folder;
  const int opened = ::open(folder.path().c_str(), O_RDONLY | O_DIRECTORY);
  std::array<int, 8> fds;
  fds.fill(opened);
  std::array<std::error_code, 8> results;
  filexfer::detail::flush_all(fds, results, std::chrono::microseconds{0});
  ::close(opened);
}

}  // namespace test

#endif
