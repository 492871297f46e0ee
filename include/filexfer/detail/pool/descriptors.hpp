#ifndef FILEXFER_DETAIL_POOL_DESCRIPTORS_HPP
#define FILEXFER_DETAIL_POOL_DESCRIPTORS_HPP

// How many connections the process's descriptors are enough for.

#include <filexfer/transfer_types.hpp>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <system_error>

#include <dirent.h>
#include <sys/resource.h>

namespace filexfer::detail {

inline bool is_lack_of_descriptors(std::error_code ec) noexcept {
  return ec == std::errc::too_many_files_open || ec == std::errc::too_many_files_open_in_system;
}

/// Descriptors that are open now; 0 if the system does not tell.
inline std::size_t open_descriptors() noexcept {
  DIR* const folder = ::opendir("/dev/fd");
  if (folder == nullptr) return 0;
  std::size_t count = 0;
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  constexpr std::size_t not_counted = 3;  // ".", "..", and the folder itself
  return count > not_counted ? count - not_counted : 0;
}

/// A connection has a stream, which may be two pipes, and a file with the folder that it is in.
inline std::size_t affordable_connections(const pool_options& options) noexcept {
  constexpr std::size_t each = 4;
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return std::numeric_limits<std::size_t>::max();
  }
  const std::size_t taken = open_descriptors() + options.reserved_descriptors;
  const std::size_t left = limit.rlim_cur > taken ? limit.rlim_cur - taken : 0;
  return std::max<std::size_t>(left / each, 1);
}

}  // namespace filexfer::detail

#endif
