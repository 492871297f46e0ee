#ifndef FILEXFER_DIRECTORY_STORE_HPP
#define FILEXFER_DIRECTORY_STORE_HPP

/// \file
/// A store in a directory, where a person can find and use the files.

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

struct directory_store_options {
  /// Bytes of all files, arriving ones included. Kept by each process for itself and counted anew
  /// before an upload is refused: approximate where several share a directory.
  std::optional<std::uint64_t> quota{};

  /// How long what arrived of an upload that broke is kept, so that it may be gone on with.
  std::chrono::seconds partial_age{std::chrono::hours{24}};
  /// Bytes of all that is kept so; above that the oldest is dropped. It counts in the quota, but
  /// gives way to files that need its room.
  std::uint64_t max_partial_size = std::uint64_t{64} << 30;

  /// Called, from any thread, with a sentence about what the file system can't do, and about stored
  /// files that were found damaged.
  std::function<void(std::string_view)> log{};
};

/// Keeps files as `<directory>/<id>/<name>`: plain read-only files, where a `/` in a name is a
/// folder. A model of `file_store`.
///
/// The file system is the truth: there is no index, several stores in several processes or hosts
/// may share a directory, and a file that is removed by hand is gone from the list. What arrives is
/// written to `<directory>/.incoming`, flushed, and shown by one atomic step that replaces nothing;
/// an id is never seen over less than its whole file. When `commit` or `add_name` has succeeded,
/// the file survives a power cut. A stored file that an upload of the same id finds damaged is
/// moved to
/// `<directory>/.damaged`, and the good one takes its place.
///
/// What arrived of an upload whose connection was lost is kept for a while in
/// `<directory>/.partial`, if the client gave it a token. A model of `resumable_store`.
///
/// No symbolic link in the directory is followed, and nothing but regular files is opened.
template <hasher Hasher = md5>
class directory_store {
 public:
  using digest_type = typename Hasher::digest_type;

  class cursor;
  class reader;
  class upload;

  /// Makes the directory if it is missing, finds out what its file system can do, and removes what
  /// killed writers left. Files that another store is writing there are left alone.
  ///
  /// Sets `ec` to `ENOTSUP` if the file system can't show a file without replacing one or has no
  /// locks, else to the system's code. The store is of no use then.
  directory_store(const std::filesystem::path& directory, directory_store_options options,
                  std::error_code& ec)
      : folder_{directory, std::move(options.log), ec},
        quota_{options.quota.value_or(detail::quota::unlimited)},
        partials_{folder_.root(), {options.partial_age, options.max_partial_size}, ec} {
    if (!ec && quota_.limited()) quota_.set_used(count_bytes(ec));
  }

  /// The same; throws `std::system_error`.
  explicit directory_store(const std::filesystem::path& directory,
                           directory_store_options options = {})
      : directory_store{directory, std::move(options), throwing{}} {}

  directory_store(const directory_store&) = delete;
  directory_store& operator=(const directory_store&) = delete;

  /// Walks over the entries in the directory's order, holding a handle for each level of folders.
  cursor list(std::error_code& ec) const { return cursor{folder_.root(), ec}; }

  /// Opens the file with that id, under any of its names; nothing if there is none.
  std::optional<opened_file<digest_type, reader>> open(const digest_type& id,
                                                       std::error_code& ec) const;

  /// Begins an upload. `errc::bad_name` if the name is none or has a component that is too long for
  /// the file system, `errc::no_space` if the quota or the disk does not leave that many bytes,
  /// else the system's code.
  std::optional<upload> create(const upload_details<digest_type>& details, std::error_code& ec);

  /// Begins an upload that may be gone on with under `details.resume`, after what is left of the
  /// last one under that token and size if `details.id` is given. Nothing, without an error, if one
  /// is under way, which is then `revoked()`. Where another process has the token the upload can't
  /// be gone on with. Errors as for `create`.
  std::optional<upload> resume(const upload_details<digest_type>& details, std::error_code& ec);

  /// Stores the file with that id and size under `name` too, or gives the name that it has that
  /// time; false if there is none. Names share a file only if they share its time.
  ///
  /// Sets `ec` to `errc::bad_name` if the name is none, or can't be held beside those that the file
  /// has; to `errc::no_space` where it takes a copy and the quota leaves no room; to
  /// `errc::collision` if the name is held by a file of that id with other bytes; to `errc::io` if
  /// it could not be made durable; else to the system's code.
  bool add_name(const digest_type& id, std::uint64_t size, std::string_view name,
                std::optional<file_time> modified, std::error_code& ec);

 private:
  struct throwing {};

  directory_store(const std::filesystem::path& directory, directory_store_options options, throwing,
                  std::error_code ec = {})
      : directory_store{directory, std::move(options), ec} {
    if (ec) throw std::system_error{ec, directory.string()};
  }

  bool can_hold(std::string_view name) const;
  bool disk_has(std::uint64_t bytes) const noexcept;

  std::uint64_t count_bytes(std::error_code& ec) {
    const auto stored = detail::count_bytes<digest_type>(folder_.root(), ec);
    return ec ? 0 : stored + partials_.count_bytes(ec);
  }

  /// Sets `bytes` aside in the quota; where there is no room, what is left of broken uploads gives
  /// way.
  detail::quota::reservation reserve(std::uint64_t bytes, std::error_code& ec) {
    const auto count = [this](std::error_code& failed) {
      partials_.remove_all();
      return count_bytes(failed);
    };
    return quota_.reserve(bytes, count, ec);
  }

  /// The same, and looks whether the disk has room for those of them that are to come.
  detail::quota::reservation make_room(std::uint64_t bytes, std::uint64_t coming,
                                       std::error_code& ec) {
    auto reserved = reserve(bytes, ec);
    if (ec || disk_has(coming)) return reserved;
    partials_.remove_all();
    if (!disk_has(coming)) ec = errc::no_space;
    return reserved;
  }

  detail::store_folder folder_;
  detail::quota quota_;
  detail::partials partials_;
};

/// Walks over a store's entries; see `directory_store::list`.
template <hasher Hasher>
class directory_store<Hasher>::cursor {
 public:
  /// The next entry; nothing at the end. Fails with the system's code.
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

/// Reads a stored file; see `directory_store::open`.
template <hasher Hasher>
class directory_store<Hasher>::reader {
 public:
  /// Bytes that the file had when it was opened.
  std::uint64_t size() const noexcept { return file_.size(); }

  /// Reads on. `errc::source_changed` or `errc::short_source` if the file ends before its size.
  std::size_t read(std::span<std::byte> to, std::error_code& ec) { return file_.read(to, ec); }

  /// Goes on reading at `offset`. `errc::bad_range` if that is past the end.
  void seek(std::uint64_t offset, std::error_code& ec) noexcept { file_.seek(offset, ec); }

  /// `errc::source_changed` if somebody wrote to the file since it was opened. (That it was given
  /// another name is no change.)
  void check_unchanged(std::error_code& ec) const noexcept { file_.check_unchanged(ec); }

  /// The descriptor, which the reader keeps; its own position is not used.
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
  /// Takes the next bytes. `errc::bad_size` if they are more than announced, else the code of the
  /// system (`ENOSPC`, `EDQUOT`, `EIO`); then the upload can't be committed any more.
  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    ec = failure_;
    if (!ec && bytes.size() > size_ - written_) ec = errc::bad_size;
    if (!ec) detail::write_all(file_.handle(), bytes, ec);
    if (!ec) written_ += bytes.size();
    failure_ = ec;
  }

  /// Shows the file under its name, durably; waits for whoever publishes under the same id.
  ///
  /// Sets `ec` to `errc::bad_size` if bytes are missing; to `errc::collision` if others with the
  /// same digest are stored; to `errc::bad_name` if the name can't be held beside those that the
  /// file has; to `errc::io` if only flushing the folders failed, and the whole file is there; else
  /// to the system's code.
  void commit(const digest_type& id, std::error_code& ec) {
    ec = failure_;
    if (!ec && written_ != size_) ec = errc::bad_size;
    if (ec) return;
    detail::publishing<Hasher> place{*folder_, id, detail::if_missing::make, ec};
    if (!ec && place.put(file_, name_, modified_, ec)) reserved_.keep();
    if (!ec) file_.remove();
    failure_ = ec;  // A flush that failed must not be tried again.
  }

  /// Bytes that were there when it began.
  std::uint64_t held() const noexcept { return held_; }

  /// Reads what has been written, from `offset` on; fewer bytes only at the end.
  std::size_t read_held(std::span<std::byte> to, std::uint64_t offset, std::error_code& ec) {
    return detail::read_at(file_.handle(), to, offset, ec);
  }

  /// Set once another upload wants the token.
  const std::atomic<bool>& revoked() const noexcept { return claim_.revoked(); }

  /// Leaves what was written for another upload under the token.
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
  detail::token_claims::claim claim_;  ///< Given up last.
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
  const auto left = static_cast<std::uint64_t>(detail::status_of(file.handle(), ec).st_size);
  if (ec) return std::nullopt;
  const std::uint64_t held = details.id && left <= details.size ? left : 0;
  quota_.release(left);
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
  detail::publishing<Hasher> place{folder_, id, detail::if_missing::leave, ec};
  if (ec) return false;
  const auto reserve_copy = [this](std::uint64_t bytes, std::error_code& failed) {
    return reserve(bytes, failed);
  };
  return place.add_name(size, name, modified, reserve_copy, ec);
}

template <hasher Hasher>
bool directory_store<Hasher>::can_hold(std::string_view name) const {
  if (!is_name(name)) return false;
  while (!name.empty()) {
    if (detail::take_component(name).size() > folder_.traits().max_component_length) return false;
  }
  return true;
}

/// Looks whether the disk is too full for a large file, before its bytes travel. (A small one just
/// meets the end of the disk.)
template <hasher Hasher>
bool directory_store<Hasher>::disk_has(std::uint64_t bytes) const noexcept {
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
