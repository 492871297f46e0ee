#ifndef FILEXFER_TREE_SINK_HPP
#define FILEXFER_TREE_SINK_HPP

/// \file
/// A folder to download into, below which files get the names that they have at the server.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/file.hpp>
#include <filexfer/protocol.hpp>
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

}  // namespace detail

/// An open folder to download into, for any number of sinks on any number of threads.
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

  detail::descriptor folder_;
  /// Held while a sink makes folders and opens its file in them, or removes them.
  std::mutex mutex_;
  /// Folders that sinks have made and no file was committed to, by name relative to the root.
  std::map<std::string, std::weak_ptr<detail::made_folder>, std::less<>> made_;
};

/// Writes files below a folder. Each appears under its name only once it is complete.
///
/// The folder is opened once, and each folder of a name relative to the one before. So no symbolic
/// link below it is followed, and moving folders or adding links meanwhile can't redirect a file.
/// Missing folders are made; those to which no file is committed are removed again if they are
/// empty. Otherwise as `file_sink`. It models `announced_sink`.
///
/// A sink writes any number of files, one after the other. Several may share a `tree_root`.
class tree_sink {
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

  /// Opens a file with the name and the time in the server's entry.
  ///
  /// \param file  The entry.
  /// \param ec    As for `open`.
  template <class Digest>
  void announce(const file_info<Digest>& file, std::error_code& ec) {
    open(file.name, ec);
    if (!ec && file.modified) modified(*file.modified);
  }

  /// Opens a file for writing. A file that was opened before and not committed is discarded.
  ///
  /// \param name  Relative to the folder, components separated by `/`.
  /// \param part  The name of a partial file beside it to resume, as for `file_sink`; empty for
  ///              none.
  /// \param ec    Cleared, or set to `errc::bad_name` if the name is not valid; to `ELOOP` if a
  ///              symbolic link is where a folder should be, `ENOTDIR` if anything else is; to
  ///              `errc::file_exists`, `EISDIR` or `ENOTSUP` as by `file_sink`; else to the
  ///              system's code, such as `ENAMETOOLONG`. Nothing is left behind then.
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

  /// Writes the file's next bytes.
  /// \param bytes  The bytes.
  /// \param ec     Cleared, or set to `EBADF` if no file is open, else as by `file_sink::write`.
  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    if (file_) file_->write(bytes, ec);
    else ec = detail::system_code(EBADF);
  }

  /// Publishes the file under its name, and flushes it and the folders that were made for it.
  /// \param ec  Cleared, or set to `EBADF` if no file is open, else as by `file_sink::commit`.
  void commit(std::error_code& ec);

  /// Removes a file that was opened and not committed, as the destructor and the next `open` do.
  void discard() noexcept {
    const std::lock_guard lock{root_.mutex_};
    drop();
  }

 private:
  detail::descriptor enter(detail::descriptor folder, std::string_view path, std::string name,
                           std::error_code& ec);

  /// Closes the file, and releases this sink's share of the folders made for it. Under the lock.
  void drop() noexcept {
    file_.reset();
    if (made_.empty()) return;
    while (!made_.empty()) made_.pop_back();
    std::erase_if(root_.made_, [](const auto& made) { return made.second.expired(); });
  }

  std::optional<tree_root> own_;
  tree_root& root_;
  on_existing policy_;
  /// Folders above the open file to which no file has been committed, the deepest last.
  std::vector<std::shared_ptr<detail::made_folder>> made_;
  std::optional<file_sink> file_;
};

inline void tree_sink::open(std::string_view name, std::string part, std::error_code& ec) {
  const std::lock_guard lock{root_.mutex_};
  drop();
  if (!is_name(name)) {
    ec = errc::bad_name;
    return;
  }
  auto folder = detail::reopen_folder(root_.folder_.get(), ec);
  std::string_view left = name;
  while (!ec && left.find('/') != left.npos) {
    std::string component = detail::take_component(left);
    const auto path = name.substr(0, name.size() - left.size() - 1);
    folder = enter(std::move(folder), path, std::move(component), ec);
  }
  if (!ec)
    file_.emplace(file_sink{std::move(folder), std::string{left}, policy_, std::move(part), ec});
  if (ec) drop();
}

/// Opens the folder `name` in `folder`, and makes it if nothing exists there. `path` is its name
/// relative to the root.
inline detail::descriptor tree_sink::enter(detail::descriptor folder, std::string_view path,
                                           std::string name, std::error_code& ec) {
  const bool made = detail::make_folder(folder.get(), name.c_str(), ec);
  if (ec) return {};
  auto entered = detail::open_folder(folder.get(), name.c_str(), ec);
  if (ec) {  // Linux reports a symbolic link as ENOTDIR.
    std::error_code unknown;
    const auto status = detail::status_at(folder.get(), name.c_str(), unknown);
    if (!unknown && S_ISLNK(status.st_mode)) ec = detail::system_code(ELOOP);
  }
  if (made) {
    made_.push_back(std::make_shared<detail::made_folder>(std::move(folder), std::move(name)));
    root_.made_.insert_or_assign(std::string{path}, made_.back());
  } else if (const auto known = root_.made_.find(path); known != root_.made_.end()) {
    if (auto shared = known->second.lock()) made_.push_back(std::move(shared));
  }
  return entered;
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

inline void tree_sink::commit(std::error_code& ec) {
  if (!file_) {
    ec = detail::system_code(EBADF);
    return;
  }
  file_->commit(ec);
  for (auto made = made_.rbegin(); made != made_.rend() && !ec; ++made) {
    detail::flush((*made)->parent.get(), ec);
  }
  if (ec) return;
  const std::lock_guard lock{root_.mutex_};
  for (const auto& made : made_) made->kept = true;
  drop();
}

static_assert(announced_sink<tree_sink, digest<16>>);

}  // namespace filexfer

#endif
