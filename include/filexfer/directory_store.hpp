#ifndef FILEXFER_DIRECTORY_STORE_HPP
#define FILEXFER_DIRECTORY_STORE_HPP

/// \file
/// A store in a directory, as plain files that people can find and use.

#include <filexfer/detail/posix/regular_file.hpp>
#include <filexfer/detail/posix/temporary.hpp>
#include <filexfer/detail/posix/time_of.hpp>
#include <filexfer/detail/store/partials.hpp>
#include <filexfer/detail/store/publishing.hpp>
#include <filexfer/detail/store/quota.hpp>
#include <filexfer/detail/store/store_folder.hpp>
#include <filexfer/detail/store/store_walk.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/storage.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <sys/statvfs.h>

namespace filexfer {

/// The limits of a `directory_store`, and its log.
struct directory_store_options {
  /// Bytes of all files, arriving ones included. Each process counts for itself, and recounts
  /// before it refuses an upload: approximate if several processes share a directory.
  std::optional<std::uint64_t> quota{};

  /// How long an interrupted upload is kept, so that it can be resumed.
  std::chrono::seconds partial_age{std::chrono::hours{24}};
  /// Bytes of all interrupted uploads; above that the oldest are removed. They count in the quota,
  /// but are removed for files that need the space.
  std::uint64_t max_partial_size = std::uint64_t{64} << 30;

  /// Called, from any thread, with a sentence about what the file system does not support, or about
  /// a stored file that was found damaged.
  std::function<void(std::string_view)> log{};
};

/// Keeps files as `<directory>/<id>/<name>`: plain read-only files, where a `/` in a name separates
/// folders. A model of `resumable_store`.
///
/// There is no index but the file system: several stores in several processes or on several hosts
/// may share a directory, and a file that is removed by hand disappears from the list. An upload is
/// written to `<directory>/.incoming`, flushed, and published in one atomic step that replaces
/// nothing; an incomplete file is never visible under an id. After `commit` or `add_name` has
/// succeeded, the file survives a power cut. If an upload finds that the stored file of its id is
/// damaged, that file is moved to `<directory>/.damaged` and replaced.
///
/// An interrupted upload is kept in `<directory>/.partial` for a while, if the client gave it a
/// token.
///
/// No symbolic link in the directory is followed, and only regular files are opened.
///
/// \tparam Hasher  Computes the digests that are the files' ids.
template <hasher Hasher = md5>
class directory_store {
 public:
  /// The type of an id.
  using digest_type = typename Hasher::digest_type;

  class cursor;
  class reader;
  class upload;

  /// Creates the directory if it is missing, detects what its file system supports, and removes
  /// temporary files of killed writers, but not those that another store is writing.
  ///
  /// \param directory  The directory.
  /// \param options  Limits, and the log.
  /// \param ec  Cleared, or set to `ENOTSUP` if the file system can't publish a file without
  ///   replacing one or has no locks, else to the system's code. The store is unusable then.
  directory_store(const std::filesystem::path& directory, directory_store_options options,
                  std::error_code& ec)
      : folder_{directory, std::move(options.log), ec},
        quota_{options.quota.value_or(detail::quota::unlimited)},
        partials_{folder_.root(), {options.partial_age, options.max_partial_size}, ec} {
    if (!ec && quota_.limited()) quota_.set_used(count_bytes(ec));
  }

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param directory  The directory.
  /// \param options  Limits, and the log.
  explicit directory_store(const std::filesystem::path& directory,
                           directory_store_options options = {})
      : directory_store{directory, std::move(options), throw_errors{}} {}

  directory_store(const directory_store&) = delete;
  directory_store& operator=(const directory_store&) = delete;

  /// Lists the entries in the directory's order.
  /// \param ec  Cleared, or set to the system's code.
  /// \return A cursor before the first entry. It holds a descriptor for each level of folders.
  cursor list(std::error_code& ec) const { return cursor{folder_.root(), ec}; }

  /// Opens a file under any of its names.
  /// \param id  The file's id.
  /// \param ec  Cleared, or set to the system's code.
  /// \return The file; nothing on failure, or without an error if there is none.
  std::optional<opened_file<digest_type, reader>> open(const digest_type& id,
                                                       std::error_code& ec) const;

  /// Begins an upload, and reserves its size in the quota.
  /// \param details  Its name, size and modification time.
  /// \param ec  Cleared, or set to `errc::bad_name` if the name is not valid or has a component
  ///   that is too long for the file system, to `errc::no_space` if the size exceeds what the quota
  ///   or the disk leaves, else to the system's code.
  /// \return The upload, which the store must outlive; nothing on failure.
  std::optional<upload> create(const upload_details<digest_type>& details, std::error_code& ec);

  /// Begins an upload that can be resumed with the token `details.resume`.
  ///
  /// If `details.id` is given, it continues the interrupted upload of that token and size; else it
  /// discards that one. If another process holds the token, the upload can't be resumed later.
  /// \param details  As for `create`, with the token and perhaps the id.
  /// \param ec  As for `create`.
  /// \return The upload, which the store must outlive; nothing on failure, or without an error if
  ///   another upload of this store holds the token, which is then `revoked()`.
  std::optional<upload> resume(const upload_details<digest_type>& details, std::error_code& ec);

  /// Adds a name to a stored file, or sets the time of a name that it has, durably. Waits as
  /// `upload::commit` does.
  ///
  /// Names share a file only if they have the same time; else the file is copied.
  /// \param id  The file's id.
  /// \param size  The file's size in bytes.
  /// \param name  The name to add.
  /// \param modified  The name's modification time, if one is to be set.
  /// \param ec  Cleared, or set to `errc::bad_name` if the name is not valid, or the file system
  ///   can't hold it beside those that the file has; to `errc::no_space` if a copy is needed and
  ///   the quota leaves no space for it; to `errc::collision` if a file of that id with other bytes
  ///   has the name; to `errc::io` as `upload::commit`; else to the system's code.
  /// \return Whether the file has the name now; false without an error if there is no such file.
  bool add_name(const digest_type& id, std::uint64_t size, std::string_view name,
                std::optional<file_time> modified, std::error_code& ec);

 private:
  struct throw_errors {};

  directory_store(const std::filesystem::path& directory, directory_store_options options,
                  throw_errors, std::error_code ec = {})
      : directory_store{directory, std::move(options), ec} {
    if (ec) throw std::system_error{ec, directory.string()};
  }

  bool can_hold(std::string_view name) const;
  bool disk_has_room(std::uint64_t bytes) const noexcept;

  std::uint64_t count_bytes(std::error_code& ec) {
    const auto stored = detail::count_bytes<digest_type>(folder_.root(), ec);
    return ec ? 0 : stored + partials_.count_bytes(ec);
  }

  /// Reserves `bytes` in the quota; removes interrupted uploads if there is no room.
  detail::quota::reservation reserve(std::uint64_t bytes, std::error_code& ec) {
    const auto count = [this](std::error_code& failed) {
      partials_.remove_all();
      return count_bytes(failed);
    };
    return quota_.reserve(bytes, count, ec);
  }

  /// Also checks that the disk has room for those that are still to arrive.
  detail::quota::reservation make_room(std::uint64_t bytes, std::uint64_t remaining,
                                       std::error_code& ec) {
    auto reserved = reserve(bytes, ec);
    if (ec || disk_has_room(remaining)) return reserved;
    partials_.remove_all();
    if (!disk_has_room(remaining)) ec = errc::no_space;
    return reserved;
  }

  detail::store_folder folder_;
  detail::quota quota_;
  detail::partials partials_;
};

/// Iterates over a store's entries; see `directory_store::list`. Movable.
template <hasher Hasher>
class directory_store<Hasher>::cursor {
 public:
  /// Reads the next entry.
  /// \param ec  Cleared, or set to the system's code.
  /// \return The entry; nothing at the end and on failure.
  std::optional<file_info<digest_type>> next(std::error_code& ec) {
    if (!walk_.next(ec)) return std::nullopt;
    const auto& file = walk_.file();
    return file_info<digest_type>{walk_.id(), file.name(), file.size(),
                                  detail::modified_time(file.status())};
  }

 private:
  friend class directory_store;
  cursor(int root, std::error_code& ec) : walk_{root, ec} {}

  detail::store_walk<digest_type> walk_;
};

/// Reads a stored file; see `directory_store::open`. Movable.
template <hasher Hasher>
class directory_store<Hasher>::reader {
 public:
  /// \return The file's size in bytes when it was opened.
  std::uint64_t size() const noexcept { return file_.size(); }

  /// \copydoc file_source::read
  std::size_t read(std::span<std::byte> to, std::error_code& ec) { return file_.read(to, ec); }

  /// \copydoc file_source::seek
  void seek(std::uint64_t offset, std::error_code& ec) noexcept { file_.seek(offset, ec); }

  /// Checks that the file was not modified since it was opened; adding a name to it is no change.
  /// \param ec  Cleared, or set to `errc::source_changed`, or to the system's code.
  void check_unchanged(std::error_code& ec) const noexcept { file_.check_unchanged(ec); }

  /// \return The descriptor, owned by the reader; its file offset is not used.
  int native_handle() const noexcept { return file_.native_handle(); }

 private:
  friend class directory_store;
  explicit reader(detail::regular_file file) noexcept : file_{std::move(file)} {}

  detail::regular_file file_;
};

/// Takes an upload's bytes; see `directory_store::create`. Movable.
template <hasher Hasher>
class directory_store<Hasher>::upload {
 public:
  /// Appends bytes. After a failure the upload can't be committed any more.
  /// \param bytes  The next bytes.
  /// \param ec  Cleared, or set to `errc::bad_size` if the announced size is exceeded, else to the
  ///   system's code (`ENOSPC`, `EDQUOT`, `EIO`), also by later calls.
  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    ec = failure_;
    if (!ec && bytes.size() > size_ - written_) ec = errc::bad_size;
    if (!ec) detail::write_all(file_.handle(), bytes, ec);
    if (!ec) written_ += bytes.size();
    failure_ = ec;
  }

  /// Publishes the file under its name, durably. Waits for other publications under the same id,
  /// but at most five minutes (`ETIMEDOUT`).
  /// \param id  The digest of the bytes.
  /// \param ec  Cleared, or set to `errc::bad_size` if bytes are missing; to `errc::collision` if
  ///   other bytes with that digest are stored; to `errc::bad_name` if the file system can't hold
  ///   the name beside those that the file has; to `errc::io` if only flushing the folders failed
  ///   (the complete file is visible then) or the file can't be linked; else to the system's code,
  ///   or to that of an earlier failure.
  void commit(const digest_type& id, std::error_code& ec) {
    ec = failure_;
    if (!ec && written_ != size_) ec = errc::bad_size;
    if (ec) return;
    detail::publishing<Hasher> publication{*folder_, id, detail::if_missing::make, ec};
    if (!ec && publication.put(file_, name_, modified_, ec)) reserved_.keep();
    if (!ec) file_.remove();
    failure_ = ec;  // A flush that failed must not be tried again.
  }

  /// \return The number of bytes that an earlier upload left.
  std::uint64_t held() const noexcept { return held_; }

  /// Reads bytes that were written, by this upload or an earlier one.
  /// \param to  Is filled; not completely only at the end.
  /// \param offset  Where to begin, in bytes.
  /// \param ec  Cleared, or set to the system's code.
  /// \return The number of bytes read.
  std::size_t read_held(std::span<std::byte> to, std::uint64_t offset, std::error_code& ec) {
    return detail::read_at(file_.handle(), to, offset, ec);
  }

  /// \return A flag that is set once another upload wants the token; valid as long as the upload.
  const std::atomic<bool>& revoked() const noexcept { return claim_.revoked(); }

  /// Leaves the written bytes for a later upload with the token; does nothing if this upload has
  /// failed or has no token.
  void keep() noexcept {
    if (failure_ || !claim_) return;
    file_.keep();
    reserved_.keep(written_);
  }

 private:
  friend class directory_store;
  upload(const detail::store_folder& folder, const upload_details<digest_type>& details,
         detail::quota::reservation reserved, detail::token_claims::claim claim,
         detail::temporary file, std::uint64_t held) noexcept
      : folder_{&folder},
        claim_{std::move(claim)},
        reserved_{std::move(reserved)},
        file_{std::move(file)},
        name_{details.name},
        size_{details.size},
        modified_{details.modified},
        held_{held},
        written_{held} {}

  const detail::store_folder* folder_;
  detail::token_claims::claim claim_;  ///< Released last.
  detail::quota::reservation reserved_;
  detail::temporary file_;
  std::string name_;
  std::uint64_t size_;
  std::optional<file_time> modified_;
  std::uint64_t held_ = 0;
  std::uint64_t written_ = 0;
  std::error_code failure_;
};

template <hasher Hasher>
auto directory_store<Hasher>::open(const digest_type& id, std::error_code& ec) const
    -> std::optional<opened_file<digest_type, reader>> {
  auto folder = detail::open_folder(folder_.root(), id.to_string().c_str(), ec);
  if (detail::is_absent(ec)) ec.clear();
  if (!folder) return std::nullopt;
  detail::name_walk walk{std::move(folder), ec};
  while (!ec && walk.next(ec)) {
    auto opened = detail::open_at(walk.folder(), walk.leaf(), detail::file_flags, ec);
    if (detail::is_absent(ec)) continue;
    if (ec) break;
    detail::regular_file file{std::move(opened), ec};
    if (ec) continue;
    file_info<digest_type> info{id, walk.name(), file.size(), detail::modified_time(file.opened())};
    return opened_file<digest_type, reader>{std::move(info), reader{std::move(file)}};
  }
  return std::nullopt;
}

template <hasher Hasher>
auto directory_store<Hasher>::create(const upload_details<digest_type>& details,
                                     std::error_code& ec) -> std::optional<upload> {
  ec.clear();
  if (!can_hold(details.name)) {
    ec = errc::bad_name;
    return std::nullopt;
  }
  auto reserved = make_room(details.size, details.size, ec);
  if (ec) return std::nullopt;
  detail::temporary file{folder_.incoming(), ec};
  if (ec) return std::nullopt;
  return upload{folder_, details, std::move(reserved), {}, std::move(file), 0};
}

template <hasher Hasher>
auto directory_store<Hasher>::resume(const upload_details<digest_type>& details,
                                     std::error_code& ec) -> std::optional<upload> {
  ec.clear();
  if (!can_hold(details.name)) {
    ec = errc::bad_name;
    return std::nullopt;
  }
  const auto key = detail::partials::key_of(details.resume, details.size);
  auto claim = partials_.take(key);
  if (!claim) return std::nullopt;
  partials_.remove_old();
  auto file = partials_.open(key, ec);
  if (ec == std::errc::operation_would_block) return create(details, ec);
  if (ec) return std::nullopt;
  const auto kept = static_cast<std::uint64_t>(detail::status_of(file.handle(), ec).st_size);
  if (ec) return std::nullopt;
  const std::uint64_t held = details.id && kept <= details.size ? kept : 0;
  quota_.release(kept);
  auto reserved = make_room(details.size, details.size - held, ec);
  const auto end = static_cast<off_t>(held);
  if (!ec && (::ftruncate(file.handle(), end) != 0 || ::lseek(file.handle(), end, SEEK_SET) < 0)) {
    ec = detail::last_error();
  }
  if (ec) return std::nullopt;
  return upload{folder_, details, std::move(reserved), std::move(claim), std::move(file), held};
}

template <hasher Hasher>
bool directory_store<Hasher>::add_name(const digest_type& id, std::uint64_t size,
                                       std::string_view name, std::optional<file_time> modified,
                                       std::error_code& ec) {
  if (!can_hold(name)) {
    ec = errc::bad_name;
    return false;
  }
  detail::publishing<Hasher> publication{folder_, id, detail::if_missing::leave, ec};
  if (ec) return false;
  const auto reserve_copy = [this](std::uint64_t bytes, std::error_code& failed) {
    return reserve(bytes, failed);
  };
  return publication.add_name(size, name, modified, reserve_copy, ec);
}

template <hasher Hasher>
bool directory_store<Hasher>::can_hold(std::string_view name) const {
  if (!is_name(name)) return false;
  while (!name.empty()) {
    if (detail::take_component(name).size() > folder_.traits().max_component_length) return false;
  }
  return true;
}

/// Checks for room before a large file's bytes are sent. (A small file just fails with `ENOSPC`.)
template <hasher Hasher>
bool directory_store<Hasher>::disk_has_room(std::uint64_t bytes) const noexcept {
  constexpr std::uint64_t large = std::uint64_t{1} << 20;
  struct statvfs disk {};
  if (bytes < large || ::fstatvfs(folder_.root(), &disk) != 0) return true;
  return bytes / disk.f_frsize <= disk.f_bavail;
}

static_assert(resumable_store<directory_store<md5>, md5::digest_type>);
static_assert(guarded_source<directory_store<md5>::reader>);
static_assert(descriptor_source<directory_store<md5>::reader>);

}  // namespace filexfer

#endif
