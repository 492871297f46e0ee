#ifndef FILEXFER_DETAIL_POSIX_DESCRIPTOR_HPP
#define FILEXFER_DETAIL_POSIX_DESCRIPTOR_HPP

/// \file
/// Owning file descriptors, and system calls that are retried after a signal.

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace filexfer::detail {

inline std::error_code system_code(int error) noexcept { return {error, std::system_category()}; }

inline std::error_code last_error() noexcept { return system_code(errno); }

/// Owns a file descriptor.
class descriptor {
 public:
  descriptor() noexcept = default;
  explicit descriptor(int fd) noexcept : fd_{fd} {}
  descriptor(descriptor&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
  descriptor& operator=(descriptor&& other) noexcept {
    if (this != &other) {
      reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~descriptor() { reset(); }

  int get() const noexcept { return fd_; }
  int release() noexcept { return std::exchange(fd_, -1); }
  explicit operator bool() const noexcept { return fd_ >= 0; }

  /// Ignores the result of `close`: data that must be on disk was flushed before, and the
  /// descriptor is closed even if the call fails.
  void reset() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_ = -1;
};

/// Repeats `call` while it fails with `EINTR`.
template <class Call>
auto retry_on_eintr(Call call) {
  for (;;) {
    const auto result = call();
    if (result != -1 || errno != EINTR) return result;
  }
}

/// `openat` with close-on-exec; an empty descriptor on failure.
inline descriptor open_at(int folder, const char* name, int flags, std::error_code& ec,
                          mode_t mode = 0) {
  descriptor fd{retry_on_eintr([&] { return ::openat(folder, name, flags | O_CLOEXEC, mode); })};
  if (fd) ec.clear();
  else ec = last_error();
  return fd;
}

/// Duplicates `fd` to a descriptor not below `least`, with close-on-exec; an empty one on failure.
inline descriptor duplicate(int fd, int least, std::error_code& ec) {
  descriptor copy{::fcntl(fd, F_DUPFD_CLOEXEC, least)};
  if (copy) ec.clear();
  else ec = last_error();
  return copy;
}

/// The first descriptor after the standard ones.
inline constexpr int first_non_standard_fd = STDERR_FILENO + 1;

inline constexpr int folder_flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
inline constexpr int file_flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;

inline struct stat status_of(int fd, std::error_code& ec) noexcept {
  struct stat status {};
  if (::fstat(fd, &status) == 0) ec.clear();
  else ec = last_error();
  return status;
}

/// The status of `name` itself, even if it is a symbolic link.
inline struct stat status_at(int folder, const char* name, std::error_code& ec) noexcept {
  struct stat status {};
  if (::fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) == 0) ec.clear();
  else ec = last_error();
  return status;
}

inline bool same_file(const struct stat& a, const struct stat& b) noexcept {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/// Whether `name` is the file that is open as `fd`.
inline bool names_file(int folder, const char* name, int fd) noexcept {
  std::error_code ec;
  const auto opened = status_of(fd, ec);
  if (ec) return false;
  const auto named = status_at(folder, name, ec);
  return !ec && same_file(opened, named);
}

/// Writes all of `bytes`, in several writes if need be.
inline void write_all(int fd, std::span<const std::byte> bytes, std::error_code& ec) {
  ec.clear();
  while (!bytes.empty()) {
    const auto written = retry_on_eintr([&] { return ::write(fd, bytes.data(), bytes.size()); });
    if (written < 0) {
      ec = last_error();
      return;
    }
    if (written == 0) {  // On broken file systems only; without this it would loop forever.
      ec = system_code(EIO);
      return;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

/// Fills `to` from `offset` on; fewer bytes only at the end of the file.
inline std::size_t read_at(int fd, std::span<std::byte> to, std::uint64_t offset,
                           std::error_code& ec) {
  ec.clear();
  std::size_t filled = 0;
  while (filled < to.size()) {
    const auto rest = to.subspan(filled);
    const auto got = retry_on_eintr(
        [&] { return ::pread(fd, rest.data(), rest.size(), static_cast<off_t>(offset + filled)); });
    if (got < 0) {
      ec = last_error();
      return filled;
    }
    if (got == 0) break;
    filled += static_cast<std::size_t>(got);
  }
  return filled;
}

/// Flushes a file's or folder's changes to the disk. Must not be called again on a descriptor for
/// which it failed: the kernel reports a lost write once, and the second call would succeed.
inline void flush(int fd, std::error_code& ec) noexcept {
#if defined(__APPLE__)
  const int result = retry_on_eintr([&] { return ::fcntl(fd, F_FULLFSYNC); });
#else
  const int result = retry_on_eintr([&] { return ::fsync(fd); });
#endif
  if (result == -1) ec = last_error();
  else ec.clear();
}

/// `renameat` that fails with `EEXIST` if `to` exists, and with `EINVAL`, `ENOSYS` or `ENOTSUP` if
/// the system can't guarantee that.
int rename_no_replace(int from_folder, const char* from, int to_folder, const char* to) noexcept;

}  // namespace filexfer::detail

#if defined(__linux__)
#include <sys/syscall.h>
#elif defined(__APPLE__)
#include <cstdio>
#endif

namespace filexfer::detail {

inline int rename_no_replace([[maybe_unused]] int from_folder, [[maybe_unused]] const char* from,
                             [[maybe_unused]] int to_folder,
                             [[maybe_unused]] const char* to) noexcept {
#if defined(__linux__) && defined(SYS_renameat2)
  constexpr unsigned no_replace = 1;  // RENAME_NOREPLACE, which not every C library names
  return static_cast<int>(::syscall(SYS_renameat2, from_folder, from, to_folder, to, no_replace));
#elif defined(__APPLE__) && defined(RENAME_EXCL)
  return ::renameatx_np(from_folder, from, to_folder, to, RENAME_EXCL);
#else
  errno = ENOTSUP;
  return -1;
#endif
}

}  // namespace filexfer::detail

#endif
