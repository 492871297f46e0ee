#ifndef FILEXFER_DETAIL_STORE_PUBLISHING_HPP
#define FILEXFER_DETAIL_STORE_PUBLISHING_HPP

/// \file
/// How a file comes to be seen in a `directory_store`.

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

/// Puts files under names of one id, under that id's lock. Used for one publication.
///
/// A name is never taken from a file that has it, but from one that no longer hashes to its id, or
/// for the same bytes with another time.
/// When a function returns without an error, the file, its name and every folder up to the store's
/// root are on the disk. When it fails, what it made is gone; but if only the flushing of a folder
/// failed (`errc::io`), the file stays, whole, under its name.
template <hasher Hasher>
class publishing {
 public:
  using digest_type = typename Hasher::digest_type;

  /// Waits for the lock.
  publishing(const store_folder& store, const digest_type& id, if_missing missing,
             std::error_code& ec)
      : store_{store}, id_{id}, place_{store, id.to_string(), missing, ec} {}

  /// Puts the bytes that have arrived under `name`, with that time if there is one. Returns
  /// whether they themselves are in the store now, rather than a file with the same bytes that was
  /// there.
  bool put(temporary& arrived, std::string_view name, std::optional<file_time> modified,
           std::error_code& ec) {
    bool kept = false;
    set_time(arrived, modified, ec);
    auto stored = ec ? std::nullopt : find_equal(arrived.handle(), ec);
    auto end = outcome::needs_bytes;
    if (!ec && stored) end = publish_stored(*stored, name, ec);
    if (!ec && end == outcome::needs_bytes) kept = publish_temporary(arrived, name, ec);
    undo_on_error(ec);
    return kept;
  }

  /// Puts the file of `size` bytes that is stored under the id under `name` too, with that time if
  /// there is one; false if there is none. No bytes are looked at. Where it can't be linked it is
  /// copied, once `reserve(size, ec)` has set no error.
  template <class Reserve>
  bool add_name(std::uint64_t size, std::string_view name, std::optional<file_time> modified,
                Reserve reserve, std::error_code& ec) {
    ec.clear();
    if (!place_) return false;
    size_ = size;
    if (modified) time_ = to_timespec(*modified);
    auto stored = find_sized(size, ec);
    if (ec || !stored) return false;
    if (publish_stored(*stored, name, ec) == outcome::needs_bytes && !ec) {
      auto reserved = reserve(size, ec);
      temporary copy = ec ? temporary{} : temporary{store_.incoming(), ec};
      if (!ec) copy_bytes(stored->file.get(), copy.handle(), ec);
      if (!ec) set_time(copy, modified.value_or(modified_time(stored->at.status())), ec);
      if (!ec && publish_temporary(copy, name, ec)) reserved.keep();
      if (!ec) copy.remove();
    }
    undo_on_error(ec);
    return !ec;
  }

 private:
  /// A stored file, open, at the place where it was found.
  struct stored_file {
    name_walk at;
    descriptor file;
  };

  enum class outcome { done, needs_bytes };

  /// Opens the file that the walk has come to; nothing if it is gone or another now.
  static std::optional<descriptor> open_found(const name_walk& walk, std::error_code& ec) {
    auto file = open_at(walk.folder(), walk.leaf(), file_flags, ec);
    if (is_absent(ec)) ec.clear();
    if (!file) return std::nullopt;
    const auto status = status_of(file.get(), ec);
    if (ec || !same_file(status, walk.status())) return std::nullopt;
    return file;
  }

  /// The stored file with the bytes of `arrived`. Files that are damaged are set aside on the way;
  /// `errc::collision` if a good one has other bytes.
  std::optional<stored_file> find_equal(int arrived, std::error_code& ec) {
    name_walk walk{reopen_folder(place_.handle(), ec), ec};
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

  /// A stored file of that size.
  std::optional<stored_file> find_sized(std::uint64_t size, std::error_code& ec) {
    name_walk walk{reopen_folder(place_.handle(), ec), ec};
    while (!ec && walk.next(ec)) {
      if (walk.size() != size) continue;
      auto file = open_found(walk, ec);
      if (file) return stored_file{std::move(walk), std::move(*file)};
    }
    return std::nullopt;
  }

  /// Sets a temporary file's time, and notes what became of it.
  void set_time(const temporary& file, std::optional<file_time> wanted, std::error_code& ec) {
    ec.clear();
    if (!wanted) return;
    set_modified(file.handle(), *wanted, ec);
    if (!ec) time_ = modified(status_of(file.handle(), ec));
  }

  /// Whether a file with this status has the time that is wanted, if one is.
  bool has_time(const struct stat& status) const noexcept {
    return !time_ || same_time(modified(status), *time_);
  }

  /// Whoever put the file there need not have flushed it yet.
  outcome publish_stored(const stored_file& stored, std::string_view name, std::error_code& ec) {
    flush(stored.file.get(), ec);
    if (ec) return outcome::done;
    const auto how = has_time(stored.at.status()) ? method::link : method::none;
    return publish(stored.at.folder(), stored.at.leaf(), stored.file.get(), name, how, ec);
  }

  /// Returns whether the temporary file itself was shown.
  bool publish_temporary(temporary& file, std::string_view name, std::error_code& ec) {
    if (::fchmod(file.handle(), store_.traits().file_mode) != 0) ec = last_error();
    if (!ec) flush(file.handle(), ec);
    if (ec) return false;
    const auto how = store_.traits().links ? method::link : method::rename;
    added_ = false;
    replacement_ = &file;
    if (publish(file.folder(), file.name(), file.handle(), name, how, ec) == outcome::needs_bytes) {
      // A link to a file of one's own is refused only for reasons that will not pass.
      if (!ec) ec = errc::io;
    }
    replacement_ = nullptr;
    if (added_ && how == method::rename) file.renamed();
    return added_;
  }

  /// How a name is added; `none` where only a name that is there already will do.
  enum class method { link, rename, none };

  /// Shows `source`, which is open as `bytes`, under `name`, if a file with these bytes is not
  /// there already; then flushes the folders.
  outcome publish(int source_folder, const char* source, int bytes, std::string_view name,
                  method how, std::error_code& ec) {
    constexpr int attempts = 100;  // Each fails only if somebody interferes who takes no locks.
    for (int i = 0; i < attempts; ++i) {
      const auto leaf = place_.reach(name, ec);
      if (ec) return outcome::done;
      const auto there = status_at(place_.leaf_folder(), leaf.c_str(), ec);
      if (!ec) {
        if (!accept_existing(there, leaf, bytes, ec)) {
          if (ec) return outcome::done;
          continue;
        }
        if (!has_time(there) && !change_time(there, leaf, ec)) {
          return ec ? outcome::done : outcome::needs_bytes;
        }
        return ec ? outcome::done : flush_folders(ec);
      }
      if (ec != std::errc::no_such_file_or_directory) {
        ec = name_error(ec);
        return outcome::done;
      }
      ec.clear();
      if (how == method::none) return outcome::needs_bytes;
      if (how == method::link && !store_.traits().links) return outcome::needs_bytes;
      if (add(source_folder, source, leaf, how) == 0) {
        added_ = true;
        return check_spelling(source_folder, source, leaf, how, ec) ? flush_folders(ec)
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

  int add(int source_folder, const char* source, const std::string& leaf, method how) noexcept {
    const int folder = place_.leaf_folder();
    return how == method::link ? ::linkat(source_folder, source, folder, leaf.c_str(), 0)
                               : rename_no_replace(source_folder, source, folder, leaf.c_str());
  }

  /// Whether the file that is there under `leaf` will do: it has the bytes of `bytes` (or, where
  /// only a name is added, the size). If it is damaged it is set aside, and this is false without
  /// an error.
  bool accept_existing(const struct stat& there, const std::string& leaf, int bytes,
                       std::error_code& ec) {
    if (!S_ISREG(there.st_mode) || !place_.is_spelled(leaf, ec)) {
      if (!ec) ec = errc::bad_name;
      return false;
    }
    const auto ours = status_of(bytes, ec);
    if (ec) return false;
    if (same_file(there, ours)) return true;
    const bool trusted = size_ && static_cast<std::uint64_t>(there.st_size) == *size_;
    const auto stored = open_at(place_.leaf_folder(), leaf.c_str(), file_flags, ec);
    if (ec) return false;
    const auto found =
        trusted ? comparison::equal : verify_stored<Hasher>(stored.get(), bytes, id_, ec);
    if (ec) return false;
    if (found == comparison::equal) flush(stored.get(), ec);
    else if (found == comparison::collision) ec = errc::collision;
    else quarantine_stored(there, ec);
    return found == comparison::equal && !ec;
  }

  /// Gives the file that stands under `leaf`, and has the right bytes, the time that is wanted:
  /// where other names share it, the temporary file takes its place. False where there is none.
  bool change_time(const struct stat& there, const std::string& leaf, std::error_code& ec) {
    const int folder = place_.leaf_folder();
    if (there.st_nlink == 1) {
      const auto stored = open_at(folder, leaf.c_str(), file_flags, ec);
      const timespec times[] = {{0, UTIME_OMIT}, *time_};
      if (!ec && ::futimens(stored.get(), times) == 0) {
        flush(stored.get(), ec);
        return true;
      }
      ec.clear();  // somebody else's file, most likely
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

  /// Takes the name away again if the file system shows another one; false then, and on failure.
  bool check_spelling(int source_folder, const char* source, const std::string& leaf, method how,
                      std::error_code& ec) {
    if (place_.is_spelled(leaf, ec)) return true;
    const int folder = place_.leaf_folder();
    if (how == method::link) ::unlinkat(folder, leaf.c_str(), 0);
    else ::renameat(folder, leaf.c_str(), source_folder, source);
    added_ = false;
    if (!ec) ec = errc::bad_name;
    return false;
  }

  outcome flush_folders(std::error_code& ec) {
    published_ = true;
    place_.flush_up(ec);
    if (ec) ec = errc::io;
    return outcome::done;
  }

  void quarantine_stored(const struct stat& damaged, std::error_code& ec) {
    const auto where = quarantine(place_, id_.to_string(), damaged, ec);
    if (where.empty()) return;
    store_.log(id_.to_string() +
               ": the stored file does not hash to its id any more. It was moved to " + where +
               '.');
  }

  void undo_on_error(const std::error_code& ec) noexcept {
    if (ec && !published_) place_.remove_made();
  }

  const store_folder& store_;
  const digest_type id_;
  id_folder place_;
  std::optional<std::uint64_t> size_;  ///< Set where a stored file is known by its size only.
  std::optional<timespec> time_;       ///< When the file was modified, if that is to be kept.
  temporary* replacement_ = nullptr;   ///< A file that may replace one with another time.
  bool added_ = false;                 ///< A name was added by the last `show`.
  bool published_ = false;             ///< The file is under its name, be it flushed or not.
};

}  // namespace filexfer::detail

#endif
