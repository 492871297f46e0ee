#ifndef FILEXFER_DIRECTORY_STORE_HPP
#define FILEXFER_DIRECTORY_STORE_HPP

/// \file
/// A store in a directory, as plain files that people can find and use.

#include <filexfer/detail/posix/regular_file.hpp>
#include <filexfer/detail/posix/sparse.hpp>
#include <filexfer/detail/posix/temporary.hpp>
#include <filexfer/detail/posix/time_of.hpp>
#include <filexfer/detail/store/partials.hpp>
#include <filexfer/detail/store/publishing.hpp>
#include <filexfer/detail/store/quota.hpp>
#include <filexfer/detail/store/removal.hpp>
#include <filexfer/detail/store/space.hpp>
#include <filexfer/detail/store/store_folder.hpp>
#include <filexfer/detail/store/store_walk.hpp>
#include <filexfer/detail/store/verification.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/options.hpp>
#include <filexfer/publication.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/verification.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace filexfer {

/// Keeps files as `<directory>/<id>/<name>`: plain read-only files, where a `/` in a name separates
/// folders. A model of `resumable_store`.
///
/// There is no index but the file system: several stores in several processes or on several hosts
/// may share a directory, and a file that is removed by hand disappears from the list. An upload is
/// written to `<directory>/.incoming`, flushed, and published in one atomic step that replaces
/// nothing; an incomplete file is never visible under an id. After `commit` or `add_name` has
/// succeeded, the file survives a power cut, unless `directory_store_options::flushing` is off.
/// Aligned blocks of zeros become holes, which take no space on the disk, but count in the quota.
/// If an upload or `verify` finds that a stored file is damaged, that file is moved to
/// `<directory>/.damaged`, with all its names; the upload replaces it under its own.
///
/// An interrupted upload is kept in `<directory>/.partial` for a while, if the client gave it a
/// token; it is resumed only if this process's user alone can write to it, and has one link.
/// No symbolic link in the directory is followed, and only regular files are opened.
/// \snippet stores.cpp directory_store
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
      : folder_{directory, options.flushing, std::move(options.log), ec},
        space_{folder_.root(),
               {options.quota.value_or(detail::quota::unlimited),
                options.max_names.value_or(detail::quota::unlimited)},
               options.min_free,
               {options.partial_age, options.max_partial_size},
               ec} {}

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param directory  The directory.
  /// \param options  Limits, and the log.
  explicit directory_store(const std::filesystem::path& directory,
                           directory_store_options options = {})
      : directory_store{directory, std::move(options), throw_errors{}} {}

  directory_store(const directory_store&) = delete;
  directory_store& operator=(const directory_store&) = delete;

  /// Lists the entries in the directory's order.
  /// \snippet stores.cpp list
  /// \param ec  Cleared, or set to the system's code.
  /// \return A cursor before the first entry. It holds a descriptor for each level of folders.
  cursor list(std::error_code& ec) const { return cursor{folder_.root(), ec}; }

  /// Opens a file under any of its names.
  /// \snippet stores.cpp open
  /// \param id  The file's id.
  /// \param ec  Cleared, or set to the system's code.
  /// \return The file; nothing on failure, or without an error if there is none.
  std::optional<opened_file<digest_type, reader>> open(const digest_type& id,
                                                       std::error_code& ec) const;

  /// Begins an upload, and reserves what it takes of the quota, of the names, and of the disk.
  /// \snippet stores.cpp create
  /// \param details  Its name, size and modification time.
  /// \param ec  Cleared, or set to `errc::bad_name` if the name is not valid or has a component
  ///   that is too long for the file system; to `errc::no_space` if the quota, `max_names` or
  ///   `min_free` leaves no room for it; to `operation_would_block` if that is not known before
  ///   another thread has recounted the store: try again; else to the system's code.
  /// \return The upload, which the store must outlive; nothing on failure.
  std::optional<upload> create(const upload_details<digest_type>& details, std::error_code& ec);

  /// Begins an upload that can be resumed with the token `details.resume`.
  ///
  /// If `details.id` is given, it continues the interrupted upload of that token and size; else it
  /// discards that one. If another process holds the token, or something that can't be removed has
  /// the file's place, the upload can't be resumed later.
  /// \snippet stores.cpp resume
  /// \param details  As for `create`, with the token and perhaps the id.
  /// \param ec  As for `create`; or set to `std::errc::operation_would_block` if another upload of
  ///   this store holds the token, which is then `revoked()`: to be called again a little later.
  /// \return The upload, which the store must outlive; nothing on failure.
  std::optional<upload> resume(const upload_details<digest_type>& details, std::error_code& ec);

  /// Commits several uploads with few flushes: first all files are flushed, several at once, then
  /// all get their names, then each folder is flushed once.
  /// \snippet stores.cpp commit_all
  /// \param uploads  Uploads of this store; each one's `error` is set as by `upload::commit`.
  void commit_all(std::span<upload_commit<upload, digest_type>> uploads) {
    while (!uploads.empty()) uploads = uploads.subspan(upload::commit_some(folder_, uploads));
  }

  /// Adds a name to a stored file, or sets the attributes of a name that it has, durably.
  ///
  /// Names share a file only if they have the same attributes; else the file is copied.
  /// \snippet stores.cpp add_name
  /// \param id  The file's id.
  /// \param size  The file's size in bytes.
  /// \param name  The name to add.
  /// \param attributes  Those of the name that are to be set.
  /// \param ec  Cleared, or set to `errc::bad_name` if the name is not valid, or the file system
  ///   can't hold it beside those that the file has; to `errc::no_space` if a new name, or a copy
  ///   that is needed, finds no room as in `create`; to `std::errc::operation_would_block` as
  ///   `create` and `upload::commit`; to
  ///   `errc::collision` if a file of that id with other bytes has the name; to `errc::io` as
  ///   `upload::commit`; else to the system's code.
  /// \return Whether the file has the name now; false without an error if there is no such file.
  bool add_name(const digest_type& id, std::uint64_t size, std::string_view name,
                const file_attributes& attributes, std::error_code& ec);

  /// Takes a name off a stored file, durably; the last one takes the file with it. Readers that are
  /// open can still read it.
  /// \snippet removals.cpp store_remove
  /// \param id  The file's id.
  /// \param name  The name to remove.
  /// \param ec  Cleared, or set to `errc::io` if flushing a folder failed, after which the name is
  ///   gone, but may come back after a crash; to `std::errc::operation_would_block` as
  ///   `upload::commit`; else to the system's code.
  /// \return Whether the file had the name; false for one that is not valid.
  bool remove(const digest_type& id, std::string_view name, std::error_code& ec) {
    ec.clear();
    if (!folder_.can_hold(name)) return false;
    const auto removed = detail::remove_name(folder_, id.to_string(), name, ec);
    space_.release(removed.released);
    return removed.found;
  }

  /// Hashes the stored files again, and sets aside those that are damaged: they are moved to
  /// `<directory>/.damaged`, durably, with all their names, and are not listed any more. An upload
  /// of the same bytes brings a file back, under its own name.
  ///
  /// May run while files are uploaded, downloaded and removed, by this store and by others; what
  /// is stored meanwhile is verified or not. Reads from the disk, past the system's cache where it
  /// can, and reads a file that seems damaged twice. One that can't be read is left where it is, as
  /// that may pass. Waits as `upload::commit` does, only to move a damaged file.
  /// \snippet stores.cpp verify
  /// \param options  The rate, and when to stop.
  /// \param on_file  Called with a `const verified_file<digest_type>&` after each file.
  /// \param ec  Cleared, or set to `operation_canceled` if it was stopped, or to the system's code
  ///   if a folder can't be read: the rest was not verified then.
  /// \return The totals of the files that were verified.
  template <class OnFile>
  verify_totals verify(const verify_options& options, OnFile on_file, std::error_code& ec) const {
    return detail::verification<Hasher>{folder_, options}.run(on_file, ec);
  }

 private:
  struct throw_errors {};

  directory_store(const std::filesystem::path& directory, directory_store_options options,
                  throw_errors, std::error_code ec = {})
      : directory_store{directory, std::move(options), ec} {
    if (ec) throw std::system_error{ec, directory.string()};
  }

  detail::store_folder folder_;
  detail::store_space<digest_type> space_;
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
                                  detail::modified_time(file.status()),
                                  detail::is_executable(file.status())};
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
    if (!ec) detail::append_sparse(file_.handle(), bytes, written_, ec);
    if (!ec) {
      written_ += bytes.size();
      reserved_.on_disk.use({bytes.size(), 0});
    }
    failure_ = ec;
  }

  /// Publishes the file under its name, durably.
  /// \param id  The digest of the bytes.
  /// \param ec  Cleared, or set to `std::errc::operation_would_block` if another publication under
  ///   the same id is in progress, in any process: to be called again a little later; to
  ///   `std::errc::too_many_files_open`: to be called again once there are descriptors; to
  ///   `errc::bad_size` if bytes are missing; to `errc::collision` if other bytes with that digest
  ///   are stored; to `errc::bad_name` if the file system can't hold the name beside those that the
  ///   file has; to `errc::io` if only flushing the folders failed (the complete file is visible
  ///   then) or the file can't be linked; else to the system's code, or to that of an earlier
  ///   failure.
  void commit(const digest_type& id, std::error_code& ec) {
    upload_commit<upload, digest_type> one{this, id};
    commit_some(*folder_, {&one, 1});
    ec = one.error;
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
    reserved_.keep({written_, 0});
  }

 private:
  friend class directory_store;
  upload(const detail::store_folder& folder, const upload_details<digest_type>& details,
         detail::reserved_room reserved, detail::token_claims::claim claim, detail::temporary file,
         std::uint64_t held) noexcept
      : folder_{&folder},
        claim_{std::move(claim)},
        reserved_{std::move(reserved)},
        file_{std::move(file)},
        name_{details.name},
        size_{details.size},
        attributes_{details.modified, details.executable},
        held_{held},
        written_{held} {}

  static std::size_t commit_some(const detail::store_folder& folder,
                                 std::span<upload_commit<upload, digest_type>> uploads);

  /// Whether the upload can be committed.
  std::error_code readiness() const noexcept {
    return failure_ || written_ == size_ ? failure_ : make_error_code(errc::bad_size);
  }

  void settle(const detail::publishing<Hasher>& publication, std::error_code ec) {
    const bool kept = publication.kept_arrived();
    const bool made_name = publication.made_name();
    if (!ec || kept || made_name) reserved_.keep({kept ? size_ : 0, made_name ? 1u : 0u});
    if (!ec) file_.remove();
    // A flush that failed must not be tried again; a lack of descriptors is none.
    if (ec != std::errc::too_many_files_open) failure_ = ec;
  }

  const detail::store_folder* folder_;
  detail::token_claims::claim claim_;  ///< Released last.
  detail::reserved_room reserved_;
  detail::temporary file_;
  std::string name_;
  std::uint64_t size_;
  file_attributes attributes_;
  std::uint64_t held_ = 0;
  std::uint64_t written_ = 0;
  std::error_code failure_;
};

static_assert(resumable_store<directory_store<md5>, md5::digest_type>);
static_assert(removing_store<directory_store<md5>, md5::digest_type>);
static_assert(group_commit_store<directory_store<md5>, md5::digest_type>);
static_assert(guarded_source<directory_store<md5>::reader>);
static_assert(descriptor_source<directory_store<md5>::reader>);

}  // namespace filexfer

#include <filexfer/detail/store/directory_store_impl.hpp>

#endif
