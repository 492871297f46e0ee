#ifndef FILEXFER_DETAIL_POSIX_TEMPORARY_HPP
#define FILEXFER_DETAIL_POSIX_TEMPORARY_HPP

/// \file
/// A store's temporary files. One without a name is gone with its writer. Of one with a name its
/// writer holds the lock while it writes; a file that another process can lock was left by a killed
/// writer.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/file_lock.hpp>
#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/detail/posix/random_name.hpp>
#include <filexfer/detail/posix/regular_file.hpp>
#include <filexfer/error.hpp>

#include <array>
#include <cerrno>
#include <charconv>
#include <string>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// Gives an open file another name, also its first one: `linkat` by descriptor.
inline int link_descriptor(int fd, int folder, const char* name) noexcept {
#if defined(__linux__)
  // Before Linux 6.10 that needs a privilege, the lack of which is reported as ENOENT.
  if (::linkat(fd, "", folder, name, AT_EMPTY_PATH) == 0) return 0;
  if (errno != ENOENT) return -1;
  std::array<char, 32> path{"/proc/self/fd/"};
  const auto number = path.begin() + 14;
  *std::to_chars(number, path.end() - 1, fd).ptr = '\0';
  return ::linkat(AT_FDCWD, path.data(), folder, name, AT_SYMLINK_FOLLOW);
#else
  static_cast<void>(fd), static_cast<void>(folder), static_cast<void>(name);
  errno = ENOTSUP;
  return -1;
#endif
}

/// Creates a file without a name, to write, in the file system of `folder`; with the system's code
/// where files can't be without one.
inline descriptor create_nameless(int folder, mode_t mode, std::error_code& ec) {
#if defined(O_TMPFILE)
  return open_at(folder, ".", O_RDWR | O_TMPFILE, ec, mode);
#else
  static_cast<void>(folder), static_cast<void>(mode);
  ec = system_code(ENOTSUP);
  return {};
#endif
}

/// Whether a file can be made in `folder` without a name, and get one beginning with `prefix`,
/// which is removed.
inline bool can_link_nameless(int folder, const std::string& prefix) {
  std::error_code ec;
  const auto file = create_nameless(folder, 0600, ec);
  const std::string name = prefix + random_name();
  if (ec || link_descriptor(file.get(), folder, name.c_str()) != 0) return false;
  ::unlinkat(folder, name.c_str(), 0);
  return true;
}

/// A file in the folder of temporary files, locked if it has a name. The destructor removes that.
class temporary {
 public:
  temporary() noexcept = default;

  /// Creates a file without a name in the file system of `folder`, which must outlive it; with the
  /// system's code where files can't be without one. Readable and writable by the owner only.
  static temporary nameless(int folder, std::error_code& ec) {
    temporary result;
    result.folder_ = folder;
    result.file_ = create_nameless(folder, 0600, ec);
    return result;
  }

  /// Creates a file in `folder`, which must outlive it. Readable and writable by the owner only.
  temporary(int folder, std::error_code& ec) : folder_{folder} {
    constexpr int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW;
    constexpr int attempts = 100;  // Each fails only if a cleanup locks this very file.
    for (int i = 0; i < attempts; ++i) {
      auto name = random_name();
      file_ = open_at(folder, name.c_str(), flags, ec, 0600);
      if (ec == std::errc::file_exists) continue;
      if (ec) return;
      name_ = std::move(name);
      try_lock(file_.get(), ec);
      // A cleanup may have locked the file since it was created, or removed its name: then another
      // file is made.
      if (!ec && names_file(folder, name_.c_str(), file_.get())) return;
      remove();
      if (ec && ec != std::errc::operation_would_block) return;
    }
    ec = system_code(EIO);
  }

  /// Opens or creates the file `name` in `folder`. What has that name and is not private is
  /// replaced: others could change the bytes later, or these are another file's. Fails with
  /// `EWOULDBLOCK` if another writer has locked it, `errc::not_private` if it can't be removed.
  temporary(int folder, std::string name, std::error_code& ec) : folder_{folder} {
    constexpr int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    constexpr int attempts = 100;  // Each fails only if another process removes this very file.
    for (int i = 0; i < attempts; ++i) {
      file_ = open_at(folder, name.c_str(), flags, ec);
      const bool created = ec == std::errc::no_such_file_or_directory;
      if (created) file_ = open_at(folder, name.c_str(), flags | O_CREAT | O_EXCL, ec, 0600);
      if (ec == std::errc::file_exists) continue;
      if (!ec) try_lock(file_.get(), ec);
      if (ec == std::errc::operation_would_block) return;
      // A file that was just created is trusted: on NFS it may have another owner.
      if (!created && !has_private(folder, name.c_str())) {
        if (::unlinkat(folder, name.c_str(), 0) == 0 || errno == ENOENT) continue;
        ec = errc::not_private;
      }
      if (ec) return;
      if (!names_file(folder, name.c_str(), file_.get())) continue;
      name_ = std::move(name);
      return;
    }
    ec = system_code(EIO);
  }

  temporary(temporary&& other) noexcept
      : folder_{other.folder_},
        file_{std::move(other.file_)},
        name_{std::exchange(other.name_, {})} {}
  temporary& operator=(temporary&& other) noexcept {
    temporary moved{std::move(other)};
    std::swap(folder_, moved.folder_);
    std::swap(file_, moved.file_);
    std::swap(name_, moved.name_);
    return *this;
  }
  ~temporary() { remove(); }

  int handle() const noexcept { return file_.get(); }
  int folder() const noexcept { return folder_; }

  /// Empty for a file without a name.
  const char* name() const noexcept { return name_.c_str(); }

  /// Gives a nameless file a name in the folder, and locks it.
  void make_name(std::error_code& ec) {
    ec.clear();
    if (!name_.empty()) return;
    try_lock(file_.get(), ec);
    if (ec) return;
    auto name = random_name();
    if (link_descriptor(file_.get(), folder_, name.c_str()) == 0) name_ = std::move(name);
    else ec = last_error();
  }

  /// Removes the name, under the lock. The bytes stay if they have another name.
  void remove() noexcept {
    if (!name_.empty()) ::unlinkat(folder_, name_.c_str(), 0);
    name_.clear();
  }

  /// Leaves the file in place.
  void keep() noexcept { name_.clear(); }

  /// Returns the open file with its lock, and leaves it in place.
  descriptor release() noexcept {
    keep();
    return std::move(file_);
  }

  /// To be called after the file was renamed. It is left in place, or removed as `name` if given.
  void renamed(std::string name = {}) noexcept { name_ = std::move(name); }

 private:
  /// Whether `name` is a private file, or there is none.
  static bool has_private(int folder, const char* name) noexcept {
    std::error_code ec;
    const auto status = status_at(folder, name, ec);
    return ec || is_private(status);
  }

  int folder_ = -1;
  descriptor file_;
  std::string name_;
};

/// Removes `name` if it is a regular file that is not locked. After any error it is left, since it
/// may be in use.
inline void remove_if_abandoned(int folder, const char* name) {
  std::error_code ec;
  const auto status = status_at(folder, name, ec);
  if (ec || !S_ISREG(status.st_mode)) return;
  // NFS locks only files open for writing; a file that is about to be published may be read-only.
  auto file = open_at(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK, ec);
  if (ec == std::errc::permission_denied) file = open_at(folder, name, file_flags, ec);
  if (!ec) try_lock(file.get(), ec);
  if (!ec && names_file(folder, name, file.get())) ::unlinkat(folder, name, 0);
}

/// Removes the files that killed writers left in `folder`.
inline void remove_abandoned(int folder, std::error_code& ec) {
  folder_reader reader{reopen_folder(folder, ec), ec};
  while (reader && !ec) {
    const auto entry = reader.next(ec);
    if (entry.name == nullptr) break;
    if (entry.kind == entry_kind::file || entry.kind == entry_kind::unknown) {
      remove_if_abandoned(folder, entry.name);
    }
  }
}

}  // namespace filexfer::detail

#endif
