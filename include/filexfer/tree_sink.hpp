#ifndef FILEXFER_TREE_SINK_HPP
#define FILEXFER_TREE_SINK_HPP

/// \file
/// A folder to download into, below which files get the names that they have at the server.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/detail/posix/temporary.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/file.hpp>
#include <filexfer/options.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/publication.hpp>
#include <filexfer/storage.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer {

namespace detail {

/// A folder that was made for a file, shared by the sinks that use it. The last one removes it,
/// unless a file was committed below it, or it holds something else.
struct made_folder {
  made_folder(descriptor in, std::string its_name) noexcept
      : parent{std::move(in)}, name{std::move(its_name)} {}
  made_folder(const made_folder&) = delete;
  made_folder& operator=(const made_folder&) = delete;
  ~made_folder() {
    if (!kept) ::unlinkat(parent.get(), name.c_str(), AT_REMOVEDIR);  // fails if it is not empty
  }

  descriptor parent;
  std::string name;
  bool kept = false;
};

/// An open folder below a root, shared by the sinks that use it.
struct opened_folder {
  ~opened_folder() {
    while (!made.empty()) made.pop_back();
  }

  descriptor folder;
  /// Those above it, and itself, to which no file has been committed, the deepest last.
  std::vector<std::shared_ptr<made_folder>> made;
};

}  // namespace detail

/// An open folder to download into, for any number of sinks on any number of threads.
/// \snippet tree.cpp tree_root
class tree_root {
 public:
  /// Opens a folder.
  ///
  /// \param folder  Its path, in which symbolic links are followed.
  /// \param ec      Cleared, or set to `ENOTDIR` if it is not a folder, else to the system's code.
  ///                The root is unusable then.
  tree_root(const std::filesystem::path& folder, std::error_code& ec)
      : folder_{detail::open_at(AT_FDCWD, folder.c_str(), O_RDONLY | O_DIRECTORY, ec)} {}

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param folder  Its path, in which symbolic links are followed.
  explicit tree_root(const std::filesystem::path& folder) {
    std::error_code ec;
    folder_ = detail::open_at(AT_FDCWD, folder.c_str(), O_RDONLY | O_DIRECTORY, ec);
    if (ec) throw std::system_error{ec, folder.string()};
  }

  /// Tells whether a file below the folder need not have a name until it is complete, as its file
  /// system can do without. Tried once, in the folder itself. A `tree_sink` that keeps existing
  /// files then writes those without a part so: nothing is left of them if the process is killed.
  /// \return Whether it is so; false if nothing can be written there.
  bool supports_nameless_files() {
    const std::lock_guard lock{mutex_};
    return try_nameless_files();
  }

  /// Not movable: sinks refer to it.
  tree_root(const tree_root&) = delete;
  tree_root& operator=(const tree_root&) = delete;

  /// Opens the file that exists under a name.
  ///
  /// \param name  Relative to the folder, components separated by `/`.
  /// \param ec    Cleared, or set to `errc::bad_name` if the name is not valid; to `EISDIR` for a
  ///              folder, `ENOTSUP` for anything else that is not a regular file; else to the
  ///              system's code: `ENOENT`, or `ELOOP`, `ENOTDIR` or the like for a symbolic link.
  /// \return The file; nothing if `ec` is set.
  std::optional<file_source> existing(std::string_view name, std::error_code& ec) const;

 private:
  friend class tree_sink;

  /// Under the lock.
  bool try_nameless_files() {
    if (!nameless_) nameless_ = detail::can_link_nameless(folder_.get(), ".filexfer-");
    return *nameless_;
  }

  detail::descriptor folder_;
  std::optional<bool> nameless_;  ///< Once tried.
  /// Held while a sink makes folders and opens its file in them, or removes them.
  std::mutex mutex_;
  /// Folders that sinks have made and no file was committed to, by name relative to the root.
  std::map<std::string, std::weak_ptr<detail::made_folder>, std::less<>> made_;
  /// The folder that a sink has opened last, as long as one uses it, and its name.
  std::weak_ptr<detail::opened_folder> last_;
  std::string last_name_;
};

/// Writes files below a folder. Each appears under its name only once it is complete.
///
/// The folder is opened once, and each folder of a name relative to the one before. So no symbolic
/// link below it is followed, and moving folders or adding links meanwhile can't redirect a file.
/// Missing folders are made; those to which no file is committed are removed again if they are
/// empty. Otherwise as `file_sink`. It models `announced_sink`.
///
/// A sink writes any number of files, one after the other. Several may share a `tree_root`.
/// \snippet tree.cpp tree_sink
class tree_sink : private publication {
 public:
  /// Opens a folder.
  ///
  /// \param folder  Its path, in which symbolic links are followed.
  /// \param policy  What to do where a file exists.
  /// \param ec      Cleared, or set to `ENOTDIR` if it is not a folder, else to the system's code.
  ///                The sink is unusable then.
  tree_sink(const std::filesystem::path& folder, on_existing policy, std::error_code& ec)
      : own_{std::in_place, folder, ec}, root_{*own_}, policy_{policy} {}

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param folder  Its path, in which symbolic links are followed.
  /// \param policy  What to do where a file exists.
  explicit tree_sink(const std::filesystem::path& folder, on_existing policy = on_existing::keep)
      : own_{std::in_place, folder}, root_{*own_}, policy_{policy} {}

  /// A sink that shares its folder with others, also those on other threads.
  /// \param root    Must outlive the sink.
  /// \param policy  What to do where a file exists.
  explicit tree_sink(tree_root& root, on_existing policy = on_existing::keep) noexcept
      : root_{root}, policy_{policy} {}

  /// Not movable: operations refer to it.
  tree_sink(const tree_sink&) = delete;
  tree_sink& operator=(const tree_sink&) = delete;
  ~tree_sink() { discard(); }

  /// Opens a file with the name and the attributes in the server's entry.
  ///
  /// \param file  The entry.
  /// \param ec    As for `open`.
  template <class Digest>
  void announce(const file_info<Digest>& file, std::error_code& ec) {
    open(file.name, ec);
    if (!ec && file.modified) modified(*file.modified);
    if (!ec) executable(file.executable.value_or(false));
  }

  /// Opens a file for writing. A file that was opened before and not committed is discarded.
  ///
  /// \param name  Relative to the folder, components separated by `/`.
  /// \param part  The name of a partial file beside it to resume, as for `file_sink`; empty for
  ///              none.
  /// \param ec    Cleared, or set to `errc::bad_name` if the name is not valid; to `ELOOP` if a
  ///              symbolic link is where a folder should be, `ENOTDIR` if anything else is; to
  ///              `errc::file_exists`, `errc::not_private`, `EISDIR` or `ENOTSUP` as by
  ///              `file_sink`; else to the system's code, such as `ENAMETOOLONG`. Nothing is left
  ///              behind then.
  void open(std::string_view name, std::string part, std::error_code& ec);
  /// As above, without a part.
  /// \param name  Relative to the folder, components separated by `/`.
  /// \param ec    As above.
  void open(std::string_view name, std::error_code& ec) { open(name, {}, ec); }

  /// \return The number of bytes that the part held when the file was opened.
  std::uint64_t held() const noexcept { return file_ ? file_->held() : 0; }
  /// Reads from the part. A file must be open.
  /// \param to      Buffer to fill.
  /// \param offset  In bytes, from the start of the part.
  /// \param ec      Cleared, or set to the system's code.
  /// \return The number of bytes read.
  std::size_t read_held(std::span<std::byte> to, std::uint64_t offset, std::error_code& ec) {
    return file_->read_held(to, offset, ec);
  }
  /// Empties the part.
  /// \param ec  Cleared, or set to the system's code.
  void discard_held(std::error_code& ec) noexcept {
    ec.clear();
    if (file_) file_->discard_held(ec);
  }

  /// Closes the file, and keeps what was written as the part, in the folders made for it.
  void keep() noexcept {
    if (file_) file_->keep();
    discard();
  }

  /// As `tree_root::existing`.
  /// \param name  Relative to the folder.
  /// \param ec    As for `tree_root::existing`.
  /// \return The file; nothing if `ec` is set.
  std::optional<file_source> existing(std::string_view name, std::error_code& ec) const {
    return root_.existing(name, ec);
  }

  /// Sets the modification time that `commit` gives the open file.
  /// \param time  The time, or the nearest that the file system can keep.
  void modified(file_time time) noexcept {
    if (file_) file_->modified(time);
  }

  /// Sets whether `commit` flushes, for the files that are opened from now on.
  /// \param mode  `flush_mode::on` is the default.
  void flushing(flush_mode mode) noexcept { flushing_ = mode; }

  /// Sets whether the open file may be executed, as `file_sink::executable`.
  /// \param allowed  False is the default.
  void executable(bool allowed) noexcept {
    if (file_) file_->executable(allowed);
  }

  /// \return As `file_sink::keeps_time`, for the file that was committed last.
  bool keeps_time() const noexcept { return keeps_time_; }

  /// Writes the file's next bytes.
  /// \param bytes  The bytes.
  /// \param ec     Cleared, or set to `EBADF` if no file is open, else as by `file_sink::write`.
  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    if (file_) file_->write(bytes, ec);
    else ec = detail::system_code(EBADF);
  }

  /// Publishes the file under its name, and flushes it and the folders that were made for it.
  /// \param ec  Cleared, or set to `EBADF` if no file is open, else as by `file_sink::commit`.
  void commit(std::error_code& ec) {
    publication* const left = begin_commit(ec);
    if (!ec) filexfer::publish(*left, ec);
  }

  /// As `file_sink::begin_commit`.
  /// \param ec  As for `commit`.
  /// \return What `commit` does then; null if `ec` is set.
  publication* begin_commit(std::error_code& ec) {
    ec.clear();
    if (file_) file_->begin_commit(ec);
    else ec = detail::system_code(EBADF);
    if (file_) keeps_time_ = file_->keeps_time();
    return ec ? nullptr : this;
  }

  /// Removes a file that was opened and not committed, as the destructor and the next `open` do.
  void discard() noexcept {
    const std::lock_guard lock{root_.mutex_};
    drop();
  }

 private:
  // The steps of a commit.
  int file() const noexcept override { return file_->file(); }
  void publish(std::error_code& ec) override { file_->publish(ec); }
  void append_folders(std::vector<int>& folders) const override;
  void finish(std::error_code& ec) override;

  std::shared_ptr<detail::opened_folder> open_folder(std::string_view path, std::error_code& ec);
  void enter(detail::opened_folder& last, std::string_view path, std::string name,
             std::error_code& ec);

  /// Closes the file, and releases this sink's share of its folder. Under the lock.
  void drop() noexcept {
    file_.reset();
    if (!folder_) return;
    folder_.reset();
    std::erase_if(root_.made_, [](const auto& made) { return made.second.expired(); });
  }

  std::optional<tree_root> own_;
  tree_root& root_;
  on_existing policy_;
  flush_mode flushing_ = flush_mode::on;
  std::shared_ptr<detail::opened_folder> folder_;  ///< That of the open file.
  std::optional<file_sink> file_;
  bool keeps_time_ = true;
};

inline void tree_sink::open(std::string_view name, std::string part, std::error_code& ec) {
  const std::lock_guard lock{root_.mutex_};
  drop();
  if (!is_name(name)) {
    ec = errc::bad_name;
    return;
  }
  const auto slash = name.rfind('/');
  const auto path = slash == name.npos ? std::string_view{} : name.substr(0, slash);
  const std::string leaf{name.substr(slash + 1)};  // npos + 1 is 0
  constexpr int attempts = 2;                      // somebody may have removed the shared folder
  for (int i = 0; i < attempts; ++i) {
    folder_ = open_folder(path, ec);
    if (!ec) {
      const bool nameless =
          part.empty() && policy_ == on_existing::keep && root_.try_nameless_files();
      file_.emplace(file_sink{{folder_, &folder_->folder}, leaf, policy_, part, nameless, ec});
      file_->flushing(flushing_);
    }
    if (!ec) return;
    const bool removed = ec == std::errc::no_such_file_or_directory;
    drop();
    root_.last_.reset();
    if (!removed) return;
  }
}

/// Opens the folder `path`, and makes it and those above if they do not exist. Under the lock.
inline std::shared_ptr<detail::opened_folder> tree_sink::open_folder(std::string_view path,
                                                                     std::error_code& ec) {
  ec.clear();
  if (path == root_.last_name_) {
    if (auto shared = root_.last_.lock()) return shared;
  }
  auto opened = std::make_shared<detail::opened_folder>();
  opened->folder = detail::reopen_folder(root_.folder_.get(), ec);
  for (std::string_view left = path; !ec && !left.empty();) {
    std::string component = detail::take_component(left);
    const auto above = left.empty() ? path : path.substr(0, path.size() - left.size() - 1);
    enter(*opened, above, std::move(component), ec);
  }
  if (ec) return {};
  root_.last_ = opened;
  root_.last_name_ = path;
  return opened;
}

/// Goes from the folder `last` to `name` in it, which is made if nothing exists there. `path` is
/// its name relative to the root.
inline void tree_sink::enter(detail::opened_folder& last, std::string_view path, std::string name,
                             std::error_code& ec) {
  const bool made = detail::make_folder(last.folder.get(), name.c_str(), ec);
  if (ec) return;
  auto entered = detail::open_folder(last.folder.get(), name.c_str(), ec);
  if (ec) {  // Linux reports a symbolic link as ENOTDIR.
    std::error_code unknown;
    const auto status = detail::status_at(last.folder.get(), name.c_str(), unknown);
    if (!unknown && S_ISLNK(status.st_mode)) ec = detail::system_code(ELOOP);
  }
  if (made) {
    last.made.push_back(
        std::make_shared<detail::made_folder>(std::move(last.folder), std::move(name)));
    root_.made_.insert_or_assign(std::string{path}, last.made.back());
  } else if (const auto known = root_.made_.find(path); known != root_.made_.end()) {
    if (auto shared = known->second.lock()) last.made.push_back(std::move(shared));
  }
  last.folder = std::move(entered);
}

inline std::optional<file_source> tree_root::existing(std::string_view name,
                                                      std::error_code& ec) const {
  if (!is_name(name)) {
    ec = errc::bad_name;
    return std::nullopt;
  }
  auto opened = detail::open_beneath(folder_.get(), name, detail::file_flags, ec);
  if (ec) return std::nullopt;
  file_source found{opened.release(), ec};
  return ec ? std::nullopt : std::optional{std::move(found)};
}

inline void tree_sink::append_folders(std::vector<int>& folders) const {
  if (flushing_ == flush_mode::off) return;
  file_->append_folders(folders);
  for (auto made = folder_->made.rbegin(); made != folder_->made.rend(); ++made) {
    folders.push_back((*made)->parent.get());
  }
}

inline void tree_sink::finish(std::error_code& ec) {
  file_->finish(ec);
  if (ec) return;
  const std::lock_guard lock{root_.mutex_};
  for (const auto& made : folder_->made) made->kept = true;
  drop();
}

static_assert(announced_sink<tree_sink, digest<16>>);
static_assert(group_commit_sink<tree_sink>);

}  // namespace filexfer

#endif
