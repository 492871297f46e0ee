#ifndef FILEXFER_DETAIL_POSIX_REGULAR_FILE_HPP
#define FILEXFER_DETAIL_POSIX_REGULAR_FILE_HPP

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/sparse.hpp>
#include <filexfer/detail/posix/time_of.hpp>
#include <filexfer/error.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// Sets `EISDIR` or `ENOTSUP` if `status` is not that of a regular file.
inline void require_regular(const struct stat& status, std::error_code& ec) noexcept {
  if (S_ISREG(status.st_mode)) ec.clear();
  else ec = system_code(S_ISDIR(status.st_mode) ? EISDIR : ENOTSUP);
}

/// Whether a system's code is one of `require_regular`, or of opening a socket.
inline bool is_not_regular(std::error_code ec) noexcept {
  return ec == std::errc::is_a_directory || ec == std::errc::not_supported ||
         ec == std::errc::operation_not_supported || ec == std::errc::no_such_device_or_address;
}

/// Whether only this process's user can write to the file, and under this name only.
inline bool is_private(const struct stat& status) noexcept {
  return S_ISREG(status.st_mode) && status.st_uid == ::geteuid() && status.st_nlink == 1 &&
         (status.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

/// Reads a regular file from an offset on, up to the size that it had when it was opened.
class regular_file {
 public:
  regular_file() noexcept = default;

  /// Takes ownership of `fd`; fails, and closes it, if it is not a regular file.
  regular_file(descriptor fd, std::error_code& ec) noexcept : fd_{std::move(fd)} {
    opened_ = status_of(fd_.get(), ec);
    if (!ec) require_regular(opened_, ec);
    if (ec) fd_.reset();
    reader_ = sparse_reader{opened_};
  }

  int native_handle() const noexcept { return fd_.get(); }
  const struct stat& opened() const noexcept { return opened_; }
  std::uint64_t size() const noexcept { return static_cast<std::uint64_t>(opened_.st_size); }

  /// Fills `to`; fewer bytes only at the end. If the file ends before its size, sets
  /// `errc::source_changed`, or `errc::short_source` if it never was that long.
  std::size_t read(std::span<std::byte> to, std::error_code& ec) {
    const auto wanted =
        static_cast<std::size_t>(std::min<std::uint64_t>(to.size(), size() - offset_));
    const auto got = reader_.read_at(fd_.get(), to.first(wanted), offset_, ec);
    offset_ += got;
    if (!ec && got < wanted) {
      check_unchanged(ec);
      if (!ec) ec = errc::short_source;
    }
    return got;
  }

  void seek(std::uint64_t offset, std::error_code& ec) noexcept {
    ec.clear();
    if (offset > size()) ec = errc::bad_range;
    else offset_ = offset;
  }

  /// Sets `errc::source_changed` if the size or the modification time has changed.
  void check_unchanged(std::error_code& ec) const noexcept {
    const auto now = status_of(fd_.get(), ec);
    if (!ec && (now.st_size != opened_.st_size || !same_time(modified(now), modified(opened_)))) {
      ec = errc::source_changed;
    }
  }

 private:
  descriptor fd_;
  struct stat opened_ {};
  sparse_reader reader_;
  std::uint64_t offset_ = 0;
};

}  // namespace filexfer::detail

#endif
