#ifndef FILEXFER_DETAIL_POSIX_FILE_SYSTEM_HPP
#define FILEXFER_DETAIL_POSIX_FILE_SYSTEM_HPP

/// \file
/// What a store's file system supports, found by trying it.

#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/detail/posix/temporary.hpp>
#include <filexfer/options.hpp>

#include <cerrno>
#include <cstddef>
#include <string>
#include <system_error>

namespace filexfer::detail {

struct file_system_traits {
  bool links = true;              ///< Has hard links.
  bool renames_safely = true;     ///< Renames without replacing.
  bool nameless_files = false;    ///< Has files without a name, to which names can be given.
  bool locks_folders = true;      ///< Locks folders; NFS does not.
  bool flushes_folders = true;    ///< Flushes folders; some fail, having nothing to flush.
  bool folds_names = false;       ///< Treats names that differ in case or normalisation as one.
  mode_t file_mode = 0444;        ///< Of a published file: what the umask leaves of 0444.
  mode_t executable_mode = 0555;  ///< Of an executable one: what it leaves of 0555.
  std::size_t max_component_length = 255;  ///< The longest component of a name.

  bool can_publish() const noexcept { return links || renames_safely; }
};

/// Whether hard links can be made, and making one fails if the name exists.
inline bool supports_links(const temporary& a, const temporary& b) {
  const auto name = std::string{a.name()} + "-link";
  const bool links = ::linkat(a.folder(), a.name(), a.folder(), name.c_str(), 0) == 0;
  if (links) ::unlinkat(a.folder(), name.c_str(), 0);
  return links && ::linkat(a.folder(), a.name(), b.folder(), b.name(), 0) != 0 && errno == EEXIST;
}

/// Whether a file can be made without a name, and gets one that replaces nothing.
inline bool supports_nameless_files(int folder, const temporary& other) {
  std::error_code ec;
  auto file = temporary::nameless(folder, ec);
  if (ec) return false;
  const bool replaces = link_descriptor(file.handle(), folder, other.name()) == 0;
  if (replaces || errno != EEXIST) return false;
  file.make_name(ec);
  return !ec;
}

/// Whether files can be renamed, and renaming one fails if the new name exists.
inline bool supports_safe_rename(temporary& a, const temporary& b) {
  if (rename_no_replace(a.folder(), a.name(), b.folder(), b.name()) == 0) {
    a.renamed();  // It has replaced `b`.
    return false;
  }
  if (errno != EEXIST) return false;
  auto name = std::string{a.name()} + "-renamed";
  if (rename_no_replace(a.folder(), a.name(), a.folder(), name.c_str()) != 0) return false;
  a.renamed(std::move(name));
  return true;
}

/// Whether a file is found under another spelling of its name, or stored under another one.
inline bool supports_folded_names(temporary& a, std::error_code& ec) {
  std::string upper = a.name();
  for (char& c : upper) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  if (names_file(a.folder(), upper.c_str(), a.handle())) return true;
  const std::string stem = a.name();
  const auto composed = stem + "-\xC3\xA9";
  const auto decomposed = stem + "-e\xCC\x81";
  if (::renameat(a.folder(), a.name(), a.folder(), composed.c_str()) != 0) return true;
  a.renamed(composed);
  return names_file(a.folder(), decomposed.c_str(), a.handle()) ||
         !has_spelling(a.folder(), composed, ec);
}

/// The permissions that the umask, or the folder's default ones, leave of `mode` for a new file.
inline mode_t effective_mode(int folder, mode_t mode, std::error_code& ec) {
  auto file = create_nameless(folder, mode, ec);  // gone with a process that is killed
  if (ec) {
    const auto name = random_name();
    file = open_at(folder, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, ec, mode);
    if (ec) return 0;
    ::unlinkat(folder, name.c_str(), 0);
  }
  return status_of(file.get(), ec).st_mode & 0777;
}

inline bool supports_folder_lock(int folder, std::error_code& ec) {
  const auto handle = reopen_folder(folder, ec);
  if (ec) return false;
  std::error_code lock_error;
  try_lock(handle.get(), lock_error);
  return !lock_error || lock_error == std::errc::operation_would_block;
}

inline bool supports_folder_flush(int folder, std::error_code& ec) {
  const auto handle = reopen_folder(folder, ec);
  if (!ec) flush(handle.get(), ec);
  if (ec != std::errc::invalid_argument && ec != std::errc::not_supported) return true;
  ec.clear();
  return false;
}

/// Detects the traits with temporary files in `folder`, which it removes; flushing only if that is
/// `on`. Sets `ec` if it can't.
inline file_system_traits try_file_system(int folder, flush_mode flushing, std::error_code& ec) {
  file_system_traits traits;
  temporary a{folder, ec};
  if (ec) return traits;
  const temporary b{folder, ec};
  if (!ec) traits.links = supports_links(a, b);
  if (!ec && traits.links) traits.nameless_files = supports_nameless_files(folder, b);
  if (!ec) traits.renames_safely = supports_safe_rename(a, b);
  if (!ec && traits.can_publish()) traits.folds_names = supports_folded_names(a, ec);
  if (!ec) traits.file_mode = effective_mode(folder, 0444, ec);
  if (!ec) traits.executable_mode = effective_mode(folder, 0555, ec) | S_IXUSR;
  if (!ec) traits.locks_folders = supports_folder_lock(folder, ec);
  if (!ec && flushing == flush_mode::on) {
    traits.flushes_folders = supports_folder_flush(folder, ec);
  }
  const auto name_max = ::fpathconf(folder, _PC_NAME_MAX);
  if (name_max > 0) traits.max_component_length = static_cast<std::size_t>(name_max);
  return traits;
}

}  // namespace filexfer::detail

#endif
