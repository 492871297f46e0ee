#ifndef FILEXFER_FILE_HPP
#define FILEXFER_FILE_HPP

/// \file
/// A client's files on disk: `file_source` to upload, `file_sink` to download into.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/file_system.hpp>
#include <filexfer/detail/posix/random_name.hpp>
#include <filexfer/detail/posix/regular_file.hpp>
#include <filexfer/detail/posix/sparse.hpp>
#include <filexfer/detail/posix/temporary.hpp>
#include <filexfer/detail/posix/time_of.hpp>
#include <filexfer/descriptor_sink.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/options.hpp>
#include <filexfer/publication.hpp>
#include <filexfer/storage.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer {

/// Reads a regular file, and detects changes to it meanwhile. Movable.
/// \snippet files.cpp file_source
class file_source {
 public:
  /// Opens `path`, following symbolic links; does not block on a FIFO.
  ///
  /// \param path  The file.
  /// \param ec  Cleared, or set to the system's code if opening fails, to `EISDIR` for a folder, to
  ///   `ENOTSUP` for anything else that is not a regular file. The source is unusable then.
  file_source(const std::filesystem::path& path, std::error_code& ec) {
    auto fd = detail::open_at(AT_FDCWD, path.c_str(), O_RDONLY | O_NONBLOCK, ec);
    if (!ec) file_ = detail::regular_file{std::move(fd), ec};
  }

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param path  The file.
  explicit file_source(const std::filesystem::path& path) {
    std::error_code ec;
    *this = file_source{path, ec};
    if (ec) throw std::system_error{ec, path.string()};
  }

  /// Reads an open file from its beginning.
  /// \param descriptor  The file. The source owns it from now on, and closes it on failure too.
  /// \param ec  As above.
  file_source(int descriptor, std::error_code& ec) : file_{detail::descriptor{descriptor}, ec} {}

  /// \return The file's size in bytes when it was opened.
  std::uint64_t size() const noexcept { return file_.size(); }

  /// \return The file's modification time when it was opened.
  file_time modified() const noexcept { return detail::modified_time(file_.opened()); }

  /// \return Whether its owner may execute the file, or could when it was opened.
  bool executable() const noexcept { return detail::is_executable(file_.opened()); }

  /// Reads the next bytes.
  /// \param to  Is filled; not completely only at the end.
  /// \param ec  Cleared, or set to `errc::source_changed` if the file is shorter now, to
  ///   `errc::short_source` if it never had as many bytes as its size, or to the system's code.
  /// \return The number of bytes read.
  std::size_t read(std::span<std::byte> to, std::error_code& ec) { return file_.read(to, ec); }

  /// Sets where the next `read` begins.
  /// \param offset  In bytes, from 0 to `size()`.
  /// \param ec  Cleared, or set to `errc::bad_range` if the offset is past the end.
  void seek(std::uint64_t offset, std::error_code& ec) noexcept { file_.seek(offset, ec); }

  /// Checks that the file did not change since it was opened.
  /// \param ec  Cleared, or set to `errc::source_changed` if its size or times have changed or it
  ///   holds bytes behind its size (as files in /proc do), or to the system's code.
  void check_unchanged(std::error_code& ec) const {
    const auto now = detail::status_of(native_handle(), ec);
    if (ec) return;
    const auto& opened = file_.opened();
    std::byte extra[1];  // not read from files on disks: these have blocks
    const bool changed =
        now.st_size != opened.st_size ||
        !detail::same_time(detail::modified(now), detail::modified(opened)) ||
        !detail::same_time(detail::status_changed(now), detail::status_changed(opened)) ||
        (opened.st_blocks == 0 && detail::read_at(native_handle(), extra, size(), ec) != 0);
    if (changed) ec = errc::source_changed;
  }

  /// \return The descriptor, owned by the source; its file offset is not used.
  int native_handle() const noexcept { return file_.native_handle(); }

 private:
  detail::regular_file file_;
};

/// What a `file_sink` does if its target exists.
enum class on_existing {
  keep,    ///< Keeps it, and fails with `errc::file_exists`.
  replace  ///< Replaces it atomically.
};

/// Writes a file that becomes visible under its name only once it is complete.
///
/// Bytes go to a temporary file beside the target, `.filexfer-` and random digits, which only its
/// owner can read. Aligned blocks of zeros become holes, which take no space. `commit` flushes it
/// (see `flushing`), then gives it the target's name. A sink that is destroyed without `commit`
/// removes the temporary file; a process that is killed leaves it.
///
/// A sink with a part resumes what an earlier one left: its temporary file has the part's name, and
/// `keep` leaves it there. It resumes only a regular file of this process's user, with no other
/// hard link, to which nobody else can write; what else has the part's name is replaced. A model of
/// `resumable_sink`.
/// \snippet files.cpp file_sink
class file_sink : private publication {
 public:
  /// Creates the temporary file.
  ///
  /// Symbolic links are followed in the folder's path, but not at `target` itself: a link there
  /// counts as an existing file.
  ///
  /// \param target  The file to write.
  /// \param policy  What to do if the target exists.
  /// \param ec  Cleared, or set to `errc::file_exists` if the target exists and is to be kept, to
  ///   `EISDIR` if it is a folder or no file name, to `ENOTSUP` if it is to be replaced and is a
  ///   device, a FIFO or a socket, else to the system's code. The sink is unusable then.
  file_sink(const std::filesystem::path& target, on_existing policy, std::error_code& ec);

  /// As above, but locks and resumes the part. If it is locked already, this sink has a temporary
  /// file of its own, and resumes nothing.
  /// \snippet files.cpp part
  /// \param target  The file to write.
  /// \param policy  What to do if the target exists.
  /// \param part  The name of a file beside the target; empty for none.
  /// \param ec  As above; also `errc::not_private` if what has the part's name can neither be
  ///   resumed nor removed, such as a folder.
  file_sink(const std::filesystem::path& target, on_existing policy, std::string part,
            std::error_code& ec);

  /// As the first overload with an error code, but throws `std::system_error`.
  /// \param target  The file to write.
  /// \param policy  What to do if the target exists.
  explicit file_sink(const std::filesystem::path& target, on_existing policy = on_existing::keep)
      : file_sink{target, policy, nullptr} {}

  /// Takes over the files.
  /// \param other  Only to be destroyed or assigned to afterwards.
  file_sink(file_sink&& other) noexcept : policy_{other.policy_} { swap(other); }
  /// Takes over the files; removes this sink's temporary file.
  /// \param other  Only to be destroyed or assigned to afterwards.
  /// \return This sink.
  file_sink& operator=(file_sink&& other) noexcept {
    file_sink moved{std::move(other)};
    swap(moved);
    return *this;
  }
  ~file_sink() { remove_temporary(); }

  /// Appends to the temporary file. After a failure the sink can't be committed any more.
  /// \param bytes  The next bytes.
  /// \param ec  Cleared, or set to the system's code (`ENOSPC`, `EDQUOT`, `EIO`), also by later
  ///   calls.
  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    if (!failure_) detail::append_sparse(file_.get(), bytes, size_, failure_);
    size_ += bytes.size();
    ec = failure_;
  }

  /// \return The number of bytes that the part had at the beginning.
  std::uint64_t held() const noexcept { return held_; }

  /// Reads bytes that the part has.
  /// \param to  Is filled; not completely only at the end.
  /// \param offset  Where to begin, in bytes.
  /// \param ec  Cleared, or set to the system's code.
  /// \return The number of bytes read.
  std::size_t read_held(std::span<std::byte> to, std::uint64_t offset, std::error_code& ec) {
    return detail::read_at(file_.get(), to, offset, ec);
  }

  /// Discards the part's bytes.
  /// \param ec  Cleared, or set to the system's code.
  void discard_held(std::error_code& ec) noexcept {
    ec.clear();
    held_ = 0;
    if (part_.empty()) return;
    size_ = 0;
    if (::ftruncate(file_.get(), 0) != 0 || ::lseek(file_.get(), 0, SEEK_SET) != 0) {
      ec = detail::last_error();
    }
  }

  /// Leaves the written bytes as the part for a later sink, unless a write failed or there are
  /// none. Nothing may be written to this sink afterwards.
  void keep() noexcept {
    std::error_code ec;
    const bool resumable = !failure_ && detail::status_of(file_.get(), ec).st_size > 0;
    if (resumable && !ec && temporary_ == part_) temporary_.clear();
    remove_temporary();
    file_.reset();
  }

  /// Sets the modification time that `commit` gives the file.
  /// \param time  The file system stores the nearest that it can.
  void modified(file_time time) noexcept { modified_ = time; }

  /// Sets whether the file may be executed by those who may read it, as far as the umask allows.
  /// \param allowed  False is the default.
  void executable(bool allowed) noexcept { executable_ = allowed; }

  /// Sets whether `commit` flushes the file and its folder.
  /// \param mode  `flush_mode::on` is the default.
  void flushing(flush_mode mode) noexcept { flushing_ = mode; }

  /// \return False if `commit` has set a time that the file system can't keep: the file has the
  ///   nearest that it can.
  bool keeps_time() const noexcept { return keeps_time_; }

  /// Flushes the bytes, gives the file its name, flushes the folder.
  ///
  /// If only flushing the folder fails, the complete file stays under its name.
  /// \param ec  Cleared, or set to `errc::file_exists` if the target exists by now and is to be
  ///   kept, to `ENOTSUP` if the file system can't guarantee to keep it, else to the system's code,
  ///   which may be that of an earlier failure.
  void commit(std::error_code& ec) {
    begin_commit(ec);
    if (!ec) filexfer::publish(*this, ec);
  }

  /// Gives the temporary file its attributes.
  /// \param ec  As for `commit`.
  /// \return What `commit` does then; null if `ec` is set.
  publication* begin_commit(std::error_code& ec);

 private:
  friend class tree_sink;

  using shared_folder = std::shared_ptr<const detail::descriptor>;

  static shared_folder open_parent(const std::filesystem::path& target, std::error_code& ec) {
    return std::make_shared<const detail::descriptor>(detail::open_parent_of(target, ec));
  }

  // The steps of a commit.
  int file() const noexcept override { return flushing_ == flush_mode::on ? file_.get() : -1; }
  void publish(std::error_code& ec) override;
  void append_folders(std::vector<int>& folders) const override {
    if (flushing_ == flush_mode::on) folders.push_back(folder_handle());
  }
  void finish(std::error_code& ec) override {
    if (!is_flushed_) failure_ = ec;  // a flush that failed must not be tried again
  }

  /// As above, for `target` in `folder`; if that is empty, `ec` keeps its opener's error. A
  /// `nameless` temporary file is gone with the process; it can't replace a file, nor be a part.
  file_sink(shared_folder folder, std::string target, on_existing policy, std::string part,
            bool nameless, std::error_code& ec);

  file_sink(const std::filesystem::path& target, on_existing policy, std::nullptr_t)
      : policy_{policy} {
    std::error_code ec;
    *this = file_sink{target, policy, ec};
    if (ec) throw std::system_error{ec, target.string()};
  }

  void swap(file_sink& other) noexcept {
    std::swap(folder_, other.folder_);
    std::swap(file_, other.file_);
    std::swap(temporary_, other.temporary_);
    std::swap(target_, other.target_);
    std::swap(part_, other.part_);
    std::swap(size_, other.size_);
    std::swap(held_, other.held_);
    std::swap(policy_, other.policy_);
    std::swap(flushing_, other.flushing_);
    std::swap(mode_, other.mode_);
    std::swap(modified_, other.modified_);
    std::swap(executable_, other.executable_);
    std::swap(keeps_time_, other.keeps_time_);
    std::swap(is_flushed_, other.is_flushed_);
    std::swap(failure_, other.failure_);
  }

  void create_nameless(std::error_code& ec);
  void create_temporary(std::error_code& ec);
  void open_part(std::error_code& ec);
  mode_t executable_mode() noexcept;
  int publish_without_replacing() noexcept;

  void remove_temporary() noexcept {
    if (!temporary_.empty()) ::unlinkat(folder_handle(), temporary_.c_str(), 0);
    temporary_.clear();
  }

  int folder_handle() const noexcept { return folder_ ? folder_->get() : -1; }

  shared_folder folder_;
  detail::descriptor file_;
  std::string temporary_;  ///< The temporary file's name, while it has one that is to be removed.
  std::string target_;
  std::string part_;        ///< Empty for none.
  std::uint64_t size_ = 0;  ///< Of the temporary file.
  std::uint64_t held_ = 0;
  on_existing policy_;
  flush_mode flushing_ = flush_mode::on;
  std::optional<mode_t> mode_;  ///< What the umask leaves of 0777; none if made with 0666.
  std::optional<file_time> modified_;
  bool executable_ = false;
  bool keeps_time_ = true;
  bool is_flushed_ = false;
  std::error_code failure_;  ///< The first one; the file is incomplete then.
};

inline file_sink::file_sink(const std::filesystem::path& target, on_existing policy,
                            std::error_code& ec)
    : file_sink{target, policy, {}, ec} {}

inline file_sink::file_sink(const std::filesystem::path& target, on_existing policy,
                            std::string part, std::error_code& ec)
    : file_sink{open_parent(target, ec),
                target.filename().string(),
                policy,
                std::move(part),
                false,
                ec} {}

inline file_sink::file_sink(shared_folder folder, std::string target, on_existing policy,
                            std::string part, bool nameless, std::error_code& ec)
    : folder_{std::move(folder)},
      target_{std::move(target)},
      part_{std::move(part)},
      policy_{policy} {
  if (target_.empty() || target_ == "." || target_ == "..") ec = detail::system_code(EISDIR);
  else if (*folder_) ec.clear();
  if (ec) {
    folder_.reset();
    return;
  }
  const auto existing = detail::status_at(folder_handle(), target_.c_str(), ec);
  if (!ec && S_ISDIR(existing.st_mode)) {
    ec = detail::system_code(EISDIR);
  } else if (!ec && policy_ == on_existing::keep) {
    ec = errc::file_exists;
  } else if (!ec && !S_ISREG(existing.st_mode) && !S_ISLNK(existing.st_mode)) {
    ec = detail::system_code(ENOTSUP);
  } else if (!ec || ec == std::errc::no_such_file_or_directory) {
    if (!part_.empty()) open_part(ec);
    else if (nameless) create_nameless(ec);
    if (part_.empty() && !file_) create_temporary(ec);
  }
  if (ec) folder_.reset();
}

/// Creates nothing where the file system can't: a part of the tree may be on another one.
inline void file_sink::create_nameless(std::error_code& ec) {
  file_ = detail::create_nameless(folder_handle(), 0666, ec);
}

inline void file_sink::create_temporary(std::error_code& ec) {
  constexpr int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
  std::string name;
  do {
    name = ".filexfer-";
    name += detail::random_name();
    file_ = detail::open_at(folder_handle(), name.c_str(), flags, ec, 0777);
  } while (ec == std::errc::file_exists);
  if (ec) return;
  temporary_ = std::move(name);
  mode_ = detail::status_of(file_.get(), ec).st_mode & 0777;
  if (!ec && ::fchmod(file_.get(), 0600) != 0) ec = detail::last_error();
}

/// Clears `part_`, without an error, if the part is locked already.
inline void file_sink::open_part(std::error_code& ec) {
  mode_ = detail::effective_mode(folder_handle(), 0777, ec);
  if (ec) return;
  detail::temporary part{folder_handle(), part_, ec};
  if (ec == std::errc::operation_would_block) {
    ec.clear();
    part_.clear();
  }
  if (ec || part_.empty()) return;
  held_ = static_cast<std::uint64_t>(detail::status_of(part.handle(), ec).st_size);
  if (!ec && ::lseek(part.handle(), 0, SEEK_END) < 0) ec = detail::last_error();
  if (ec) return;
  size_ = held_;
  temporary_ = part_;
  file_ = part.release();
}

inline publication* file_sink::begin_commit(std::error_code& ec) {
  if (executable_ && !mode_ && !failure_) mode_ = executable_mode();
  if (mode_ && !failure_ && ::fchmod(file_.get(), executable_ ? *mode_ : *mode_ & 0666) != 0)
    failure_ = detail::last_error();
  if (!failure_ && modified_) {
    keeps_time_ = detail::set_and_check_modified(file_.get(), *modified_, failure_);
  }
  ec = failure_;
  return ec ? nullptr : this;
}

/// What the umask leaves of 0777; where that can't be found out, as who may read may execute.
inline mode_t file_sink::executable_mode() noexcept {
  std::error_code ec;
  mode_t mode = detail::effective_mode(folder_handle(), 0777, ec);
  if (ec) {
    mode = detail::status_of(file_.get(), failure_).st_mode & 0666;
    mode |= (mode & 0444) >> 2;
  }
  return mode;
}

inline void file_sink::publish(std::error_code& ec) {
  ec.clear();
  is_flushed_ = true;
  const int result = policy_ == on_existing::keep ? publish_without_replacing()
                                                  : ::renameat(folder_handle(), temporary_.c_str(),
                                                               folder_handle(), target_.c_str());
  if (result != 0) {
    ec = errno == EEXIST ? make_error_code(errc::file_exists) : detail::last_error();
    return;
  }
  if (policy_ == on_existing::replace) temporary_.clear();
  remove_temporary();
}

/// Renames or links the temporary file to the target's name unless that exists.
inline int file_sink::publish_without_replacing() noexcept {
  const int in = folder_handle();
  if (temporary_.empty()) return detail::link_descriptor(file_.get(), in, target_.c_str());
  if (detail::rename_no_replace(in, temporary_.c_str(), in, target_.c_str()) == 0) {
    temporary_.clear();
    return 0;
  }
  if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP) return -1;
  if (::linkat(in, temporary_.c_str(), in, target_.c_str(), 0) == 0) return 0;
  if (errno == EPERM || errno == ENOSYS) errno = ENOTSUP;
  return -1;
}

static_assert(seekable_source<file_source>);
static_assert(guarded_source<file_source>);
static_assert(descriptor_source<file_source>);
static_assert(resumable_sink<file_sink>);

}  // namespace filexfer

#endif
