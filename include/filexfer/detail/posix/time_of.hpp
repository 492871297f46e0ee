#ifndef FILEXFER_DETAIL_POSIX_TIME_OF_HPP
#define FILEXFER_DETAIL_POSIX_TIME_OF_HPP

/// \file
/// The times and the executable bit of files on disk.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/fields.hpp>

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <limits>
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

inline file_time to_file_time(const timespec& time) noexcept {
  return {time.tv_sec, static_cast<std::int32_t>(time.tv_nsec)};
}

inline file_time modified_time(const struct stat& status) noexcept {
  return to_file_time(modified(status));
}

/// Clamps the seconds to what `time_t` holds, if that has 32 bits.
inline timespec to_timespec(file_time time) noexcept {
  using limits = std::numeric_limits<std::time_t>;
  timespec result{};
  result.tv_sec = static_cast<std::time_t>(
      std::clamp<std::int64_t>(time.seconds(), limits::min(), limits::max()));
  result.tv_nsec = time.nanoseconds();
  return result;
}

/// Whether the file's owner may execute it.
inline bool is_executable(const struct stat& status) noexcept {
  return (status.st_mode & S_IXUSR) != 0;
}

/// Lets those who may read a file execute it, or nobody.
inline void set_executable(int fd, bool executable, std::error_code& ec) noexcept {
  const mode_t mode = status_of(fd, ec).st_mode & 0777;
  if (ec) return;
  const mode_t wanted = executable ? mode | ((mode & 0444) >> 2) : mode & 0666;
  if (::fchmod(fd, wanted) != 0) ec = last_error();
}

/// Sets a file's modification time, to the nearest that its file system stores.
inline void set_modified(int fd, file_time time, std::error_code& ec) noexcept {
  const timespec times[] = {{0, UTIME_OMIT}, to_timespec(time)};
  if (::futimens(fd, times) == 0) ec.clear();
  else ec = last_error();
}

/// Whether a file that was given the time `wanted` keeps it if it has the time `kept` now: a file
/// system rounds it down, FAT to even seconds, and has a first and a last one.
constexpr bool keeps_time(file_time kept, file_time wanted) noexcept {
  return kept.seconds() >> 1 == wanted.seconds() >> 1;
}

/// As `set_modified`. Returns whether the file keeps the time.
inline bool set_and_check_modified(int fd, file_time time, std::error_code& ec) noexcept {
  set_modified(fd, time, ec);
  if (ec) return false;
  const auto status = status_of(fd, ec);
  return !ec && keeps_time(modified_time(status), time);
}

}  // namespace filexfer::detail

#endif
