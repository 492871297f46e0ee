#ifndef FILEXFER_DETAIL_POSIX_TIME_OF_HPP
#define FILEXFER_DETAIL_POSIX_TIME_OF_HPP

/// \file
/// The times of files on disk.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/fields.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <system_error>

#include <sys/stat.h>

namespace filexfer::detail {

#if defined(__APPLE__)
inline timespec modified(const struct stat& status) noexcept { return status.st_mtimespec; }
inline timespec status_changed(const struct stat& status) noexcept { return status.st_ctimespec; }
#else
inline timespec modified(const struct stat& status) noexcept { return status.st_mtim; }
inline timespec status_changed(const struct stat& status) noexcept { return status.st_ctim; }
#endif

inline bool same_time(const timespec& a, const timespec& b) noexcept {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

/// The modification time, or the nearest that `file_time` can hold.
inline file_time modified_time(const struct stat& status) noexcept {
  using std::chrono::seconds;
  const timespec time = modified(status);
  constexpr auto first = std::chrono::floor<seconds>(file_time::min()) + seconds{1};
  constexpr auto last = std::chrono::floor<seconds>(file_time::max()) - seconds{1};
  const std::chrono::sys_seconds whole{seconds{time.tv_sec}};
  return std::clamp(whole, first, last) + std::chrono::nanoseconds{time.tv_nsec};
}

inline timespec to_timespec(file_time time) noexcept {
  const auto whole = std::chrono::floor<std::chrono::seconds>(time);
  timespec result{};
  result.tv_sec = static_cast<std::time_t>(whole.time_since_epoch().count());
  result.tv_nsec = static_cast<long>((time - whole).count());
  return result;
}

/// Sets a file's modification time, to the nearest that its file system stores.
inline void set_modified(int fd, file_time time, std::error_code& ec) noexcept {
  const timespec times[] = {{0, UTIME_OMIT}, to_timespec(time)};
  if (::futimens(fd, times) == 0) ec.clear();
  else ec = last_error();
}

}  // namespace filexfer::detail

#endif
