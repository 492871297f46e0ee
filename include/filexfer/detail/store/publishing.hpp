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
#include <filexfer/publication.hpp>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

/// Publishes a file under a name of one id, holding that id's lock. Used once: for `put`, after
/// which the steps of a `publication` follow, or for `add_name`, which performs them.
///
/// An existing name is replaced only if its file no longer hashes to its id, or by the same bytes
/// with other attributes. After the last step without an error, the file, its name and every
/// folder up to the store's root are on the disk, unless the store does not flush. After a failure,
/// what it made is removed; but if only flushing a folder failed (`errc::io`), the complete file
/// stays under its name.
template <hasher Hasher>
class publishing {
 public:
  using digest_type = typename Hasher::digest_type;

  /// Takes the lock; `EWOULDBLOCK` if somebody else holds it. `root` is as for `id_folder`.
  publishing(const store_folder& store, int root, const digest_type& id, if_missing missing,
             std::error_code& ec)
      : store_{store}, id_{id}, folder_{store, root, id.to_string(), missing, ec} {}

  /// Makes `add_name` fail with `why` if the file does not have the name yet.
  void forbid_new_names(std::error_code why) noexcept { no_new_names_ = why; }

  /// Whether the file got a name that it did not have.
  bool made_name() const noexcept { return made_name_; }

  /// Whether the arrived file itself is in the store, rather than an existing one with its bytes.
  bool kept_arrived() const noexcept { return kept_arrived_; }

  /// Prepares to publish an arrived file under `name`, with the attributes that are given. Both
  /// must outlive this object.
  void put(temporary& arrived, const std::string& name, const file_attributes& wanted,
           std::error_code& ec) {
    arrived_ = &arrived;
    name_ = name;
    executable_ = wanted.executable;
    set_time(arrived, wanted.modified, ec);
    if (!ec && !folder_.is_new()) stored_ = find_equal(arrived.handle(), ec);
    if (!ec && !stored_) set_executable(arrived.handle(), executable_.value_or(false), ec);
  }

  /// The stored file is flushed, too, since its writer may not have done so yet.
  int file() const noexcept {
    if (!store_.flushes_files()) return -1;
    return stored_ ? stored_->file.get() : arrived_->handle();
  }

  void publish(std::error_code& ec) {
    auto result = outcome::needs_bytes;
    if (stored_) {
      result = publish_stored(*stored_, name_, ec);
      if (!ec && result == outcome::needs_bytes) prepare(*arrived_, ec);
    }
    if (!ec && result == outcome::needs_bytes) {
      kept_arrived_ = publish_temporary(*arrived_, name_, ec);
    }
  }

  void append_folders(std::vector<int>& folders) const { folder_.append_folders(folders); }

  void finish(std::error_code& ec) {
    if (ec && published_) ec = errc::io;
    else if (ec) folder_.remove_made();
  }

  /// Whether a stored file of `size` bytes has `name` already, with the attributes that are given;
  /// it is flushed then. Bytes are not compared. Otherwise `add_name` may follow.
  bool keep_name(std::uint64_t size, std::string_view name, const file_attributes& wanted,
                 std::error_code& ec) {
    ec.clear();
    if (!folder_) return false;
    size_ = size;
    executable_ = wanted.executable;
    if (wanted.modified) time_ = to_timespec(*wanted.modified);
    const auto leaf = folder_.open_parents(name, ec);
    if (ec || !is_kept(leaf, ec)) {
      ec.clear();
      return false;
    }
    if (store_.flushes_files()) {
      const auto file = open_at(folder_.leaf_folder(), leaf.c_str(), file_flags, ec);
      if (!ec) store_.flush(file.get(), ec);
    }
    if (!ec) {
      published_ = true;
      folder_.flush_up(ec);
    }
    finish(ec);
    return !ec;
  }

  /// Adds `name` to a stored file of `size` bytes, with the attributes that are given; false if
  /// there is no such file. Bytes are not compared. A file that can't be linked is copied, if
  /// `reserve(size, ec)` sets no error. `keep_name` has returned false before.
  template <class Reserve>
  bool add_name(std::uint64_t size, std::string_view name, const file_attributes& wanted,
                Reserve reserve, std::error_code& ec) {
    ec.clear();
    if (!folder_) return false;
    stored_ = find_by_size(size, ec);
    if (ec || !stored_) return false;
    store_.flush(stored_->file.get(), ec);
    if (!ec && publish_stored(*stored_, name, ec) == outcome::needs_bytes && !ec) {
      auto reserved = reserve(size, ec);
      temporary copy = ec ? temporary{} : store_.make_temporary(ec);
      if (!ec) copy_bytes(stored_->file.get(), copy.handle(), ec);
      if (!ec) set_time(copy, wanted.modified.value_or(modified_time(stored_->walk.status())), ec);
      if (!ec) prepare(copy, ec);
      if (!ec && publish_temporary(copy, name, ec)) reserved.keep({size, 0});
      if (!ec) copy.remove();
    }
    if (!ec) folder_.flush_up(ec);
    finish(ec);
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

  /// Sets a temporary file's time, which is then the one to set.
  void set_time(const temporary& file, std::optional<file_time> wanted, std::error_code& ec) {
    ec.clear();
    if (!wanted) return;
    set_modified(file.handle(), *wanted, ec);
    time_ = to_timespec(*wanted);
    timed_ = file.handle();
  }

  /// The modification time to set, as precisely as the file system stores it; if there is one.
  std::optional<timespec> time() noexcept {
    if (timed_ >= 0) {
      std::error_code ec;
      const auto status = status_of(std::exchange(timed_, -1), ec);
      if (!ec) time_ = modified(status);
    }
    return time_;
  }

  /// Whether the existing file `leaf` has the size and the attributes.
  bool is_kept(const std::string& leaf, std::error_code& ec) {
    const auto status = status_at(folder_.leaf_folder(), leaf.c_str(), ec);
    return !ec && S_ISREG(status.st_mode) && static_cast<std::uint64_t>(status.st_size) == *size_ &&
           has_attributes(status) && folder_.is_spelled(leaf, ec);
  }

  /// Whether an existing name with this status has the attributes to be set.
  bool has_attributes(const struct stat& status) noexcept {
    const auto wanted = time();
    return (!wanted || same_time(modified(status), *wanted)) &&
           is_executable(status) == executable_.value_or(is_executable(status));
  }

  /// Whether a new name may be one of a file with this status.
  bool may_share(const struct stat& status) noexcept {
    return has_attributes(status) && is_executable(status) == executable_.value_or(false);
  }

  void set_executable(int fd, bool executable, std::error_code& ec) const noexcept {
    const auto& traits = store_.traits();
    if (::fchmod(fd, executable ? traits.executable_mode : traits.file_mode) != 0) {
      ec = last_error();
    }
  }

  /// Sets the mode of a file that is to get a name, and flushes it.
  void prepare(const temporary& file, std::error_code& ec) const {
    set_executable(file.handle(), executable_.value_or(false), ec);
    if (!ec) store_.flush(file.handle(), ec);
  }

  outcome publish_stored(const stored_file& stored, std::string_view name, std::error_code& ec) {
    const auto method = may_share(stored.walk.status()) ? name_method::link : name_method::none;
    return make_name(stored.walk.folder(), stored.walk.leaf(), stored.file.get(), name, method, ec);
  }

  /// Returns whether the temporary file itself was published.
  bool publish_temporary(temporary& file, std::string_view name, std::error_code& ec) {
    const auto method = store_.traits().links ? name_method::link : name_method::rename;
    added_ = false;
    replacement_ = &file;
    if (make_name(file.folder(), file.name(), file.handle(), name, method, ec) ==
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

  /// Gives `source`, which is open as `fd` and may have no name, this one, unless a file with these
  /// bytes has it already.
  outcome make_name(int source_folder, const char* source, int fd, std::string_view name,
                    name_method method, std::error_code& ec) {
    constexpr int attempts = 100;  // Each fails only if a process that takes no locks interferes.
    const bool can_add = !no_new_names_ && method != name_method::none &&
                         (method != name_method::link || store_.traits().links);
    for (int i = 0; i < attempts; ++i) {
      const auto leaf = folder_.make_parents(name, ec);
      if (ec) return outcome::done;
      std::error_code refused;
      if (can_add) {
        if (add(source_folder, source, fd, leaf, method) == 0) {
          added_ = true;
          if (!check_spelling(source_folder, source, leaf, method, ec)) return outcome::done;
          made_name_ = published_ = true;
          return outcome::done;
        }
        refused = last_error();
      }
      const auto existing = status_at(folder_.leaf_folder(), leaf.c_str(), ec);
      if (!ec) {
        if (!accept_existing(existing, leaf, fd, ec)) {
          if (ec) return outcome::done;
          continue;
        }
        if (!has_attributes(existing) && !change_attributes(existing, leaf, ec)) {
          return ec ? outcome::done : outcome::needs_bytes;
        }
        published_ = !ec;
        return outcome::done;
      }
      if (ec != std::errc::no_such_file_or_directory) {
        ec = name_error(ec);
        return outcome::done;
      }
      ec = no_new_names_;
      if (ec) return outcome::done;
      if (!can_add || is_refused_link(refused)) return outcome::needs_bytes;
      if (refused == std::errc::file_exists) continue;  // it was removed since
      ec = name_error(refused);
      return outcome::done;
    }
    ec = errc::io;
    return outcome::done;
  }

  /// Whether a file can't get another name, or not there.
  static bool is_refused_link(std::error_code ec) noexcept {
    return ec == std::errc::too_many_links || ec == std::errc::operation_not_permitted ||
           ec == std::errc::not_supported || ec == std::errc::operation_not_supported ||
           ec == std::errc::cross_device_link;
  }

  int add(int source_folder, const char* source, int fd, const std::string& leaf,
          name_method method) noexcept {
    const int folder = folder_.leaf_folder();
    if (*source == '\0') return link_descriptor(fd, folder, leaf.c_str());
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
    if (found == comparison::equal) store_.flush(stored.get(), ec);
    else if (found == comparison::collision) ec = errc::collision;
    else quarantine_stored(existing, ec);
    return found == comparison::equal && !ec;
  }

  /// Sets the attributes of the file `leaf`, which has the right bytes. If other names share it,
  /// the temporary file replaces it; returns false if there is no temporary file.
  bool change_attributes(const struct stat& existing, const std::string& leaf,
                         std::error_code& ec) {
    const int folder = folder_.leaf_folder();
    const timespec times[] = {{0, UTIME_OMIT}, time().value_or(modified(existing))};
    const bool executable = executable_.value_or(is_executable(existing));
    const auto change = [&](int fd) {
      if (::futimens(fd, times) != 0) ec = last_error();
      if (!ec) set_executable(fd, executable, ec);
    };
    if (existing.st_nlink == 1) {
      const auto stored = open_at(folder, leaf.c_str(), file_flags, ec);
      if (!ec) change(stored.get());
      if (!ec) {
        store_.flush(stored.get(), ec);
        return true;
      }
      ec.clear();  // most likely, another user owns the file
    }
    if (replacement_ == nullptr) return false;
    change(replacement_->handle());
    if (!ec) store_.flush(replacement_->handle(), ec);
    if (!ec) replacement_->make_name(ec);
    if (ec) return true;
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

  void quarantine_stored(const struct stat& damaged, std::error_code& ec) {
    quarantine(store_, folder_, id_.to_string(), damaged, ec);
  }

  const store_folder& store_;
  const digest_type id_;
  id_folder folder_;
  std::optional<std::uint64_t> size_;  ///< Set if a stored file is known by its size only.
  std::optional<timespec> time_;       ///< See `time()`.
  int timed_ = -1;                     ///< A file that has that time, if it is to be read from it.
  std::optional<bool> executable_;     ///< Whether the name is to be executable, if that is given.
  temporary* replacement_ = nullptr;   ///< A file that may replace one with other attributes.
  std::error_code no_new_names_;       ///< Why no name may be added, if so.
  temporary* arrived_ = nullptr;       ///< The file that is `put`.
  std::string_view name_;              ///< Its name.
  std::optional<stored_file> stored_;  ///< An existing file with its bytes.
  bool added_ = false;                 ///< A name was added by the last `make_name`.
  bool made_name_ = false;
  bool kept_arrived_ = false;
  bool published_ = false;  ///< The file has its name, flushed or not.
};

}  // namespace filexfer::detail

#endif
