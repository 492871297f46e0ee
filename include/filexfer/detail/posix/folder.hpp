#ifndef FILEXFER_DETAIL_POSIX_FOLDER_HPP
#define FILEXFER_DETAIL_POSIX_FOLDER_HPP

/// \file
/// Reads, creates and opens folders by handle. Nothing here follows a symbolic link.

#include <filexfer/detail/posix/descriptor.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <dirent.h>
#include <sys/stat.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace filexfer::detail {

/// An entry's type as its folder reports it, which saves a `stat`. Some file systems report none.
enum class entry_kind { unknown, file, folder, other };

struct folder_entry {
  const char* name;  ///< Valid until the next entry is read, or the reader is moved.
  entry_kind kind;
};

/// The kind that a `dirent` or `dirent64` reports.
template <class Entry>
entry_kind kind_of([[maybe_unused]] const Entry& entry) noexcept {
#if defined(DT_UNKNOWN)
  switch (entry.d_type) {
    case DT_UNKNOWN: return entry_kind::unknown;
    case DT_REG: return entry_kind::file;
    case DT_DIR: return entry_kind::folder;
    default: return entry_kind::other;
  }
#else
  return entry_kind::unknown;
#endif
}

/// The kind of an entry with this status.
inline entry_kind kind_of(const struct stat& status) noexcept {
  if (S_ISREG(status.st_mode)) return entry_kind::file;
  return S_ISDIR(status.st_mode) ? entry_kind::folder : entry_kind::other;
}

#if defined(__linux__)
/// Reads a folder's entries through its own handle. By system calls of its own: `fdopendir` makes
/// three more for each folder, and allocates 32 KiB, and a store has two folders for each file.
class folder_reader {
 public:
  folder_reader() noexcept = default;

  /// Takes ownership of `folder`; if it is empty, `ec` keeps its opener's error.
  folder_reader(descriptor folder, std::error_code& ec) noexcept : folder_{std::move(folder)} {
    if (folder_) ec.clear();
  }

  explicit operator bool() const noexcept { return static_cast<bool>(folder_); }
  int handle() const noexcept { return folder_.get(); }

  /// The next entry, without `.` and `..`; `name` is null at the end and on failure.
  folder_entry next(std::error_code& ec) noexcept {
    ec.clear();
    for (;;) {
      if (next_ == end_ && !fill(ec)) return {nullptr, entry_kind::unknown};
      const auto* const entry = reinterpret_cast<const dirent64*>(buffer().data() + next_);
      next_ += entry->d_reclen;
      const std::string_view name{static_cast<const char*>(entry->d_name)};
      if (name != "." && name != "..") return {name.data(), kind_of(*entry)};
    }
  }

 private:
  static constexpr std::size_t large_size = std::size_t{32} * 1024;

  std::span<char> buffer() noexcept {
    return large_ ? std::span{large_.get(), large_size} : std::span{small_};
  }

  void enlarge() noexcept {
    if (large_) return;
    try {
      large_ = std::make_unique_for_overwrite<char[]>(large_size);
    } catch (const std::bad_alloc&) {  // keeps the small one
    }
  }

  long read_entries() noexcept {
    const auto to = buffer();
    return ::syscall(SYS_getdents64, folder_.get(), to.data(), to.size());
  }

  /// Reads the next entries; false at the end and on failure. Most folders of a store have one.
  bool fill(std::error_code& ec) noexcept {
    if (end_ + sizeof(dirent64) > small_.size()) enlarge();
    next_ = end_ = 0;
    auto got = read_entries();
    if (got < 0 && errno == EINVAL && !large_) {  // the next one does not fit
      enlarge();
      got = read_entries();
    }
    if (got < 0 && errno != ENOENT) ec = last_error();  // that of a folder that was removed
    if (got > 0) end_ = static_cast<std::size_t>(got);
    return got > 0;
  }

  descriptor folder_;
  alignas(dirent64) std::array<char, 1024> small_{};
  std::unique_ptr<char[]> large_;
  std::size_t next_ = 0;  ///< Where the next entry is in the buffer.
  std::size_t end_ = 0;   ///< Of the entries there.
};
#else
/// Reads a folder's entries through its own handle.
class folder_reader {
 public:
  folder_reader() noexcept = default;

  /// Takes ownership of `folder`; if it is empty, `ec` keeps its opener's error.
  folder_reader(descriptor folder, std::error_code& ec) noexcept {
    if (!folder) return;
    ec.clear();
    stream_.reset(::fdopendir(folder.get()));
    if (stream_) folder.release();
    else ec = last_error();
  }

  explicit operator bool() const noexcept { return stream_ != nullptr; }
  int handle() const noexcept { return ::dirfd(stream_.get()); }

  /// The next entry, without `.` and `..`; `name` is null at the end and on failure.
  folder_entry next(std::error_code& ec) noexcept {
    ec.clear();
    for (;;) {
      errno = 0;
      const auto* entry = ::readdir(stream_.get());
      if (entry == nullptr) {
        if (errno != 0) ec = last_error();
        return {nullptr, entry_kind::unknown};
      }
      const std::string_view name{entry->d_name};
      if (name != "." && name != "..") return {entry->d_name, kind_of(*entry)};
    }
  }

 private:
  struct closer {
    void operator()(DIR* stream) const noexcept { ::closedir(stream); }
  };

  std::unique_ptr<DIR, closer> stream_;
};
#endif

/// Whether an open folder has no entry; false also if that can't be told cheaply. Moves the
/// position of the handle.
inline bool is_known_empty([[maybe_unused]] int folder) noexcept {
#if defined(__linux__)
  alignas(dirent64) std::array<char, 1024> buffer;
  for (;;) {
    const auto got = ::syscall(SYS_getdents64, folder, buffer.data(), buffer.size());
    if (got <= 0) return got == 0;
    for (long offset = 0; offset < got;) {
      const auto* const entry = reinterpret_cast<const dirent64*>(buffer.data() + offset);
      const std::string_view name{static_cast<const char*>(entry->d_name)};
      if (name != "." && name != "..") return false;
      offset += entry->d_reclen;
    }
  }
#else
  return false;
#endif
}

/// Opens the folder `name` in `folder`.
inline descriptor open_folder(int folder, const char* name, std::error_code& ec) {
  return open_at(folder, name, folder_flags, ec);
}

/// Opens the folder of `file`, following symbolic links.
inline descriptor open_parent_of(const std::filesystem::path& file, std::error_code& ec) {
  const auto folder = file.has_parent_path() ? file.parent_path() : std::filesystem::path{"."};
  return open_at(AT_FDCWD, folder.c_str(), O_RDONLY | O_DIRECTORY, ec);
}

/// A second handle on `folder`, with its own position and error state.
inline descriptor reopen_folder(int folder, std::error_code& ec) {
  return open_folder(folder, ".", ec);
}

/// Whether a system's code says that an entry does not exist, is no folder, or is a symbolic link.
inline bool is_absent(std::error_code ec) noexcept {
  return ec == std::errc::no_such_file_or_directory || ec == std::errc::not_a_directory ||
         ec == std::errc::too_many_symbolic_link_levels;
}

/// Makes the folder `name`, unless an entry of that name exists. Returns whether it made it.
inline bool make_folder(int folder, const char* name, std::error_code& ec) noexcept {
  ec.clear();
  if (retry_on_eintr([&] { return ::mkdirat(folder, name, 0777); }) == 0) return true;
  if (errno != EEXIST) ec = last_error();
  return false;
}

/// Opens the folder `name`; makes it if it does not exist.
inline descriptor make_and_open_folder(int folder, const char* name, std::error_code& ec) {
  make_folder(folder, name, ec);
  return ec ? descriptor{} : open_folder(folder, name, ec);
}

/// Whether `folder` has an entry spelled exactly like `name`. Needed only on file systems that fold
/// or normalise names; elsewhere a lookup of `name` is enough.
inline bool has_spelling(int folder, std::string_view name, std::error_code& ec) {
  folder_reader reader{reopen_folder(folder, ec), ec};
  if (!reader) return false;
  for (;;) {
    const auto entry = reader.next(ec);
    if (entry.name == nullptr) return false;
    if (entry.name == name) return true;
  }
}

/// Removes the first component and the `/` behind it from `path`; returns the component.
inline std::string take_component(std::string_view& path) {
  const auto component = path.substr(0, path.find('/'));
  path.remove_prefix(std::min(path.size(), component.size() + 1));
  return std::string{component};
}

/// Opens the file `name` below `folder`, component by component.
inline descriptor open_beneath(int folder, std::string_view name, int flags, std::error_code& ec) {
  descriptor parent;
  ec.clear();
  while (!ec && name.find('/') != name.npos) {
    parent = open_folder(parent ? parent.get() : folder, take_component(name).c_str(), ec);
  }
  if (ec) return {};
  return open_at(parent ? parent.get() : folder, std::string{name}.c_str(), flags, ec);
}

}  // namespace filexfer::detail

#endif
