#ifndef FILEXFER_DETAIL_POSIX_FOLDER_HPP
#define FILEXFER_DETAIL_POSIX_FOLDER_HPP

/// \file
/// Folders by handle: what is in them, and how they are made. Nothing here follows a symbolic link.

#include <filexfer/detail/posix/descriptor.hpp>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <dirent.h>

namespace filexfer::detail {

/// What a folder says that an entry is, which spares looking at it; file systems need not say.
enum class entry_kind { unknown, file, folder, other };

struct folder_entry {
  const char* name;  ///< Until the next entry is read.
  entry_kind kind;
};

/// Reads a folder's entries through a handle of its own.
class folder_reader {
 public:
  folder_reader() noexcept = default;

  /// Takes `folder`; an empty one leaves `ec` as its opener set it.
  folder_reader(descriptor folder, std::error_code& ec) noexcept {
    if (!folder) return;
    ec.clear();
    stream_.reset(::fdopendir(folder.get()));
    if (stream_) folder.release();
    else ec = last_error();
  }

  explicit operator bool() const noexcept { return stream_ != nullptr; }
  int handle() const noexcept { return ::dirfd(stream_.get()); }

  /// The next entry but `.` and `..`; `name` is null at the end and on failure.
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

  static entry_kind kind_of([[maybe_unused]] const dirent& entry) noexcept {
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

  std::unique_ptr<DIR, closer> stream_;
};

/// Opens the folder `name` in `folder`.
inline descriptor open_folder(int folder, const char* name, std::error_code& ec) {
  return open_at(folder, name, folder_flags, ec);
}

/// A second handle on `folder`, with a position and an error state of its own.
inline descriptor reopen_folder(int folder, std::error_code& ec) {
  return open_folder(folder, ".", ec);
}

/// Whether a system's code says that what was looked for is not there, or not a folder.
inline bool is_absent(std::error_code ec) noexcept {
  return ec == std::errc::no_such_file_or_directory || ec == std::errc::not_a_directory ||
         ec == std::errc::too_many_symbolic_link_levels;
}

/// Makes the folder `name`, unless something is there by that name. Returns whether it made it.
inline bool make_folder(int folder, const char* name, std::error_code& ec) noexcept {
  ec.clear();
  if (retried([&] { return ::mkdirat(folder, name, 0777); }) == 0) return true;
  if (errno != EEXIST) ec = last_error();
  return false;
}

/// Makes the folder `name` if it is not there, and opens it.
inline descriptor make_and_open_folder(int folder, const char* name, std::error_code& ec) {
  make_folder(folder, name, ec);
  return ec ? descriptor{} : open_folder(folder, name, ec);
}

/// Whether `folder` has an entry spelled exactly like `name`. Only for file systems that fold or
/// normalise names; elsewhere looking `name` up is enough.
inline bool has_spelling(int folder, std::string_view name, std::error_code& ec) {
  folder_reader reader{reopen_folder(folder, ec), ec};
  if (!reader) return false;
  for (;;) {
    const auto entry = reader.next(ec);
    if (entry.name == nullptr) return false;
    if (entry.name == name) return true;
  }
}

/// Cuts the first component off `path`; the whole of it if it has only one.
inline std::string take_component(std::string_view& path) {
  const auto component = path.substr(0, path.find('/'));
  path.remove_prefix(std::min(path.size(), component.size() + 1));
  return std::string{component};
}

/// Opens the file `name` below `folder`, component by component.
inline descriptor open_beneath(int folder, std::string_view name, int flags, std::error_code& ec) {
  descriptor at;
  ec.clear();
  while (!ec && name.find('/') != name.npos) {
    at = open_folder(at ? at.get() : folder, take_component(name).c_str(), ec);
  }
  if (ec) return {};
  return open_at(at ? at.get() : folder, std::string{name}.c_str(), flags, ec);
}

}  // namespace filexfer::detail

#endif
