#ifndef FILEXFER_DETAIL_STORE_PUBLISHING_HPP
#define FILEXFER_DETAIL_STORE_PUBLISHING_HPP

/// \file
/// How a file is published in a `directory_store`.

#include <filexfer/detail/posix/temporary.hpp>
#include <filexfer/detail/posix/time_of.hpp>
#include <filexfer/detail/store/id_folder.hpp>
#include <filexfer/detail/store/name_walk.hpp>
#include <filexfer/detail/store/quarantine.hpp>
#include <filexfer/detail/store/store_folder.hpp>
#include <filexfer/detail/store/stored_bytes.hpp>
#include <filexfer/error.hpp>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// Publishes files under names of one id, holding that id's lock. Used for one publication.
///
/// An existing name is replaced only if its file no longer hashes to its id, or by the same bytes
/// with another time. When a function returns without an error, the file, its name and every folder
/// up to the store's root are on the disk. When it fails, what it made is removed; but if only
/// flushing a folder failed (`errc::io`), the complete file stays under its name.
template <hasher Hasher>
class publishing {
 public:
  using digest_type = typename Hasher::digest_type;

  /// Waits for the lock.
  publishing(const store_folder& store, const digest_type& id, if_missing missing,
             std::error_code& ec)
      : store_{store}, id_{id}, folder_{store, id.to_string(), missing, ec} {}

  /// Publishes an arrived file under `name`, with that time if there is one. Returns whether the
  /// file itself is in the store now, rather than an existing one with the same bytes.
  bool put(temporary& arrived, std::string_view name, std::optional<file_time> modified,
           std::error_code& ec) {
    bool kept = false;
    set_time(arrived, modified, ec);
    auto stored = ec ? std::nullopt : find_equal(arrived.handle(), ec);
    auto result = outcome::needs_bytes;
    if (!ec && stored) result = publish_stored(*stored, name, ec);
    if (!ec && result == outcome::needs_bytes) kept = publish_temporary(arrived, name, ec);
    undo_on_error(ec);
    return kept;
  }

  /// Adds `name` to a stored file of `size` bytes, with that time if there is one; false if
  /// there is no such file. Bytes are not compared. A file that can't be linked is copied, if
  /// `reserve(size, ec)` sets no error.
  template <class Reserve>
  bool add_name(std::uint64_t size, std::string_view name, std::optional<file_time> modified,
                Reserve reserve, std::error_code& ec) {
    ec.clear();
    if (!folder_) return false;
    size_ = size;
    if (modified) time_ = to_timespec(*modified);
    auto stored = find_by_size(size, ec);
    if (ec || !stored) return false;
    if (publish_stored(*stored, name, ec) == outcome::needs_bytes && !ec) {
      auto reserved = reserve(size, ec);
      temporary copy = ec ? temporary{} : temporary{store_.incoming(), ec};
      if (!ec) copy_bytes(stored->file.get(), copy.handle(), ec);
      if (!ec) set_time(copy, modified.value_or(modified_time(stored->walk.status())), ec);
      if (!ec && publish_temporary(copy, name, ec)) reserved.keep();
      if (!ec) copy.remove();
    }
    undo_on_error(ec);
    return !ec;
  }

 private:
  /// An open stored file, and the walk that found it.
  struct stored_file {
    name_walk walk;
    descriptor file;
  };

  /// `needs_bytes`: the name needs a file of its own, not the stored one.
  enum class outcome { done, needs_bytes };

  /// Opens the walk's current file; nothing if it was removed or replaced meanwhile.
  static std::optional<descriptor> open_found(const name_walk& walk, std::error_code& ec) {
    auto file = open_at(walk.folder(), walk.leaf(), file_flags, ec);
    if (is_absent(ec)) ec.clear();
    if (!file) return std::nullopt;
    const auto status = status_of(file.get(), ec);
    if (ec || !same_file(status, walk.status())) return std::nullopt;
    return file;
  }

  /// Finds a stored file with the bytes of `arrived`. Quarantines damaged files on the way;
  /// `errc::collision` if a good one has other bytes.
  std::optional<stored_file> find_equal(int arrived, std::error_code& ec) {
    name_walk walk{reopen_folder(folder_.handle(), ec), ec};
    while (!ec && walk.next(ec)) {
      auto file = open_found(walk, ec);
      if (ec) break;
      if (!file) continue;
      const auto found = verify_stored<Hasher>(file->get(), arrived, id_, ec);
      if (ec) break;
      if (found == comparison::equal) return stored_file{std::move(walk), std::move(*file)};
      if (found == comparison::collision) {
        ec = errc::collision;
        break;
      }
      quarantine_stored(walk.status(), ec);
    }
    return std::nullopt;
  }

  /// Finds a stored file of that size.
  std::optional<stored_file> find_by_size(std::uint64_t size, std::error_code& ec) {
    name_walk walk{reopen_folder(folder_.handle(), ec), ec};
    while (!ec && walk.next(ec)) {
      if (walk.size() != size) continue;
      auto file = open_found(walk, ec);
      if (file) return stored_file{std::move(walk), std::move(*file)};
    }
    return std::nullopt;
  }

  /// Sets a temporary file's time, and records which time the file system stored.
  void set_time(const temporary& file, std::optional<file_time> wanted, std::error_code& ec) {
    ec.clear();
    if (!wanted) return;
    set_modified(file.handle(), *wanted, ec);
    if (!ec) time_ = modified(status_of(file.handle(), ec));
  }

  /// Whether a file with this status has the time to be set, if there is one.
  bool has_time(const struct stat& status) const noexcept {
    return !time_ || same_time(modified(status), *time_);
  }

  /// Flushes the file, since its writer may not have done so yet.
  outcome publish_stored(const stored_file& stored, std::string_view name, std::error_code& ec) {
    flush(stored.file.get(), ec);
    if (ec) return outcome::done;
    const auto method = has_time(stored.walk.status()) ? name_method::link : name_method::none;
    return publish(stored.walk.folder(), stored.walk.leaf(), stored.file.get(), name, method, ec);
  }

  /// Returns whether the temporary file itself was published.
  bool publish_temporary(temporary& file, std::string_view name, std::error_code& ec) {
    if (::fchmod(file.handle(), store_.traits().file_mode) != 0) ec = last_error();
    if (!ec) flush(file.handle(), ec);
    if (ec) return false;
    const auto method = store_.traits().links ? name_method::link : name_method::rename;
    added_ = false;
    replacement_ = &file;
    if (publish(file.folder(), file.name(), file.handle(), name, method, ec) ==
        outcome::needs_bytes) {
      // The store's own file: linking it fails only for permanent reasons.
      if (!ec) ec = errc::io;
    }
    replacement_ = nullptr;
    if (added_ && method == name_method::rename) file.renamed();
    return added_;
  }

  /// How a name is added; `none` if it must exist already.
  enum class name_method { link, rename, none };

  /// Publishes `source`, which is open as `fd`, under `name`, unless a file with these bytes has
  /// that name already; then flushes the folders.
  outcome publish(int source_folder, const char* source, int fd, std::string_view name,
                  name_method method, std::error_code& ec) {
    constexpr int attempts = 100;  // Each fails only if a process that takes no locks interferes.
    for (int i = 0; i < attempts; ++i) {
      const auto leaf = folder_.make_parents(name, ec);
      if (ec) return outcome::done;
      const auto existing = status_at(folder_.leaf_folder(), leaf.c_str(), ec);
      if (!ec) {
        if (!accept_existing(existing, leaf, fd, ec)) {
          if (ec) return outcome::done;
          continue;
        }
        if (!has_time(existing) && !change_time(existing, leaf, ec)) {
          return ec ? outcome::done : outcome::needs_bytes;
        }
        return ec ? outcome::done : flush_folders(ec);
      }
      if (ec != std::errc::no_such_file_or_directory) {
        ec = name_error(ec);
        return outcome::done;
      }
      ec.clear();
      if (method == name_method::none) return outcome::needs_bytes;
      if (method == name_method::link && !store_.traits().links) return outcome::needs_bytes;
      if (add(source_folder, source, leaf, method) == 0) {
        added_ = true;
        return check_spelling(source_folder, source, leaf, method, ec) ? flush_folders(ec)
                                                                       : outcome::done;
      }
      if (errno == EEXIST) continue;
      if (errno == EMLINK || errno == EPERM || errno == ENOTSUP || errno == EOPNOTSUPP ||
          errno == EXDEV) {
        return outcome::needs_bytes;
      }
      ec = name_error(last_error());
      return outcome::done;
    }
    ec = errc::io;
    return outcome::done;
  }

  int add(int source_folder, const char* source, const std::string& leaf,
          name_method method) noexcept {
    const int folder = folder_.leaf_folder();
    return method == name_method::link
               ? ::linkat(source_folder, source, folder, leaf.c_str(), 0)
               : rename_no_replace(source_folder, source, folder, leaf.c_str());
  }

  /// Whether the existing file `leaf` can be used: it has the bytes of `fd` (or the size, if only a
  /// name is added). If it is damaged, it is quarantined, and this returns false without an error.
  bool accept_existing(const struct stat& existing, const std::string& leaf, int fd,
                       std::error_code& ec) {
    if (!S_ISREG(existing.st_mode) || !folder_.is_spelled(leaf, ec)) {
      if (!ec) ec = errc::bad_name;
      return false;
    }
    const auto status = status_of(fd, ec);
    if (ec) return false;
    if (same_file(existing, status)) return true;
    const bool trusted = size_ && static_cast<std::uint64_t>(existing.st_size) == *size_;
    const auto stored = open_at(folder_.leaf_folder(), leaf.c_str(), file_flags, ec);
    if (ec) return false;
    const auto found =
        trusted ? comparison::equal : verify_stored<Hasher>(stored.get(), fd, id_, ec);
    if (ec) return false;
    if (found == comparison::equal) flush(stored.get(), ec);
    else if (found == comparison::collision) ec = errc::collision;
    else quarantine_stored(existing, ec);
    return found == comparison::equal && !ec;
  }

  /// Sets the time of the file `leaf`, which has the right bytes. If other names share it, the
  /// temporary file replaces it; returns false if there is no temporary file.
  bool change_time(const struct stat& existing, const std::string& leaf, std::error_code& ec) {
    const int folder = folder_.leaf_folder();
    if (existing.st_nlink == 1) {
      const auto stored = open_at(folder, leaf.c_str(), file_flags, ec);
      const timespec times[] = {{0, UTIME_OMIT}, *time_};
      if (!ec && ::futimens(stored.get(), times) == 0) {
        flush(stored.get(), ec);
        return true;
      }
      ec.clear();  // most likely, another user owns the file
    }
    if (replacement_ == nullptr) return false;
    if (::renameat(replacement_->folder(), replacement_->name(), folder, leaf.c_str()) != 0) {
      ec = last_error();
    } else {
      replacement_->renamed();
      added_ = true;
    }
    return true;
  }

  /// Removes the name again if the file system stored another one; false then, and on failure.
  bool check_spelling(int source_folder, const char* source, const std::string& leaf,
                      name_method method, std::error_code& ec) {
    if (folder_.is_spelled(leaf, ec)) return true;
    const int folder = folder_.leaf_folder();
    if (method == name_method::link) ::unlinkat(folder, leaf.c_str(), 0);
    else ::renameat(folder, leaf.c_str(), source_folder, source);
    added_ = false;
    if (!ec) ec = errc::bad_name;
    return false;
  }

  outcome flush_folders(std::error_code& ec) {
    published_ = true;
    folder_.flush_up(ec);
    if (ec) ec = errc::io;
    return outcome::done;
  }

  void quarantine_stored(const struct stat& damaged, std::error_code& ec) {
    const auto where = quarantine(folder_, id_.to_string(), damaged, ec);
    if (where.empty()) return;
    store_.log(id_.to_string() +
               ": the stored file does not hash to its id any more. It was moved to " + where +
               '.');
  }

  void undo_on_error(const std::error_code& ec) noexcept {
    if (ec && !published_) folder_.remove_made();
  }

  const store_folder& store_;
  const digest_type id_;
  id_folder folder_;
  std::optional<std::uint64_t> size_;  ///< Set if a stored file is known by its size only.
  std::optional<timespec> time_;       ///< The modification time to set, if there is one.
  temporary* replacement_ = nullptr;   ///< A file that may replace one with another time.
  bool added_ = false;                 ///< A name was added by the last `publish`.
  bool published_ = false;             ///< The file has its name, flushed or not.
};

}  // namespace filexfer::detail

#endif
