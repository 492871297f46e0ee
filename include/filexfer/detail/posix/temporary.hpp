#ifndef FILEXFER_DETAIL_POSIX_TEMPORARY_HPP
#define FILEXFER_DETAIL_POSIX_TEMPORARY_HPP

/// \file
/// A store's temporary files. Each is locked by its writer for as long as it is written; one that
/// can be locked by somebody else is what a killed writer left.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/file_lock.hpp>
#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/detail/posix/random_name.hpp>
#include <filexfer/detail/posix/regular_file.hpp>

#include <string>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// A locked file in the folder of temporary files; its name is removed when it is destroyed.
class temporary {
 public:
  temporary() noexcept = default;

  /// Creates it in `folder`, which must outlive it. Readable and writable by the owner only.
  temporary(int folder, std::error_code& ec) : folder_{folder} {
    constexpr int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW;
    constexpr int attempts = 100;  // Each fails only if a cleaner meets this very file.
    for (int i = 0; i < attempts; ++i) {
      auto name = random_name();
      file_ = open_at(folder, name.c_str(), flags, ec, 0600);
      if (ec == std::errc::file_exists) continue;
      if (ec) return;
      name_ = std::move(name);
      try_lock(file_.get(), ec);
      // Between creating and locking a cleaner may have come: it holds the lock, or it has removed
      // the name. Then another file is made.
      if (!ec && names_file(folder, name_.c_str(), file_.get())) return;
      remove();
      if (ec && ec != std::errc::operation_would_block) return;
    }
    ec = system_code(EIO);
  }

  /// Opens the file `name` in `folder`, or creates it. Fails with `EWOULDBLOCK` if somebody else is
  /// writing it.
  temporary(int folder, std::string name, std::error_code& ec) : folder_{folder} {
    constexpr int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
    constexpr int attempts = 100;  // Each fails only if a cleaner meets this very file.
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

  /// Leaves the file where it is.
  void keep() noexcept { name_.clear(); }

  /// Hands the open file over, with its lock, and leaves it where it is.
  descriptor release() noexcept {
    keep();
    return std::move(file_);
  }

  /// The file was renamed, to where it stays unless it is to be removed as `name`.
  void renamed(std::string name = {}) noexcept { name_ = std::move(name); }

 private:
  int folder_ = -1;
  descriptor file_;
  std::string name_;
};

/// Removes `name` if it is a regular file that nobody has locked. An error of any kind means that
/// somebody may be writing it.
inline void remove_if_abandoned(int folder, const char* name) {
  std::error_code ec;
  const auto status = status_at(folder, name, ec);
  if (ec || !S_ISREG(status.st_mode)) return;
  // NFS locks only what is open for writing; one that is about to be shown may be read-only.
  auto file = open_at(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK, ec);
  if (ec == std::errc::permission_denied) file = open_at(folder, name, file_flags, ec);
  if (!ec) try_lock(file.get(), ec);
  if (!ec && names_file(folder, name, file.get())) ::unlinkat(folder, name, 0);
}

/// Removes what killed writers left in `folder`.
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
