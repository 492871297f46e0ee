#ifndef FILEXFER_DETAIL_POOL_DESCRIPTORS_HPP
#define FILEXFER_DETAIL_POOL_DESCRIPTORS_HPP

// How many connections the process has file descriptors for.

#include <filexfer/transfer_types.hpp>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <system_error>

#include <dirent.h>
#include <sys/resource.h>

namespace filexfer::detail {

inline bool is_out_of_descriptors(std::error_code ec) noexcept {
  return ec == std::errc::too_many_files_open || ec == std::errc::too_many_files_open_in_system;
}

/// The number of open descriptors; 0 if the system does not report it.
inline std::size_t open_descriptors() noexcept {
  DIR* const folder = ::opendir("/dev/fd");
  if (folder == nullptr) return 0;
  std::size_t count = 0;
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  constexpr std::size_t not_counted = 3;  // ".", ".." and the descriptor of `folder`
  return count > not_counted ? count - not_counted : 0;
}

/// Each connection needs descriptors for a stream, which may be two pipes, a file, and its folder.
inline std::size_t affordable_connections(const pool_options& options) noexcept {
  constexpr std::size_t per_connection = 4;
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return std::numeric_limits<std::size_t>::max();
  }
  const std::size_t taken = open_descriptors() + options.reserved_descriptors;
  const std::size_t left = limit.rlim_cur > taken ? limit.rlim_cur - taken : 0;
  return std::max<std::size_t>(left / per_connection, 1);
}

}  // namespace filexfer::detail

#endif
