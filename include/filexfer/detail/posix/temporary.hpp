#ifndef FILEXFER_DETAIL_POSIX_TEMPORARY_HPP
#define FILEXFER_DETAIL_POSIX_TEMPORARY_HPP

/// \file
/// A store's temporary files. A writer holds its file's lock while it writes; a file that another
/// process can lock was left by a killed writer.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/file_lock.hpp>
#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/detail/posix/random_name.hpp>
#include <filexfer/detail/posix/regular_file.hpp>

#include <string>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// A locked file in the folder of temporary files. The destructor removes its name.
class temporary {
 public:
  temporary() noexcept = default;

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

  /// Opens or creates the file `name` in `folder`. Fails with `EWOULDBLOCK` if another
  /// writer has locked it.
  temporary(int folder, std::string name, std::error_code& ec) : folder_{folder} {
    constexpr int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
    constexpr int attempts = 100;  // Each fails only if a cleanup locks this very file.
    for (int i = 0; i < attempts; ++i) {
      file_ = open_at(folder, name.c_str(), flags, ec, 0600);
      if (!ec) require_regular(status_of(file_.get(), ec), ec);
      if (!ec) try_lock(file_.get(), ec);
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
  const char* name() const noexcept { return name_.c_str(); }

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
