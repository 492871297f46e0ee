#ifndef FILEXFER_TREE_SINK_HPP
#define FILEXFER_TREE_SINK_HPP

/// \file
/// A folder to download into, below which files stand under the names that they have at the server.

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

/// A folder that was made for files to come. It goes again with the last sink that has use for it,
/// unless a file has come, or something else has come to stand there.
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

/// A folder to download into, opened once, for any number of sinks on any number of threads.
class tree_root {
 public:
  /// Opens `folder`, following symbolic links in its path. Sets `ec` to the system's code if it
  /// can't be opened, `ENOTDIR` if it is no folder. The root is of no use then.
  tree_root(const std::filesystem::path& folder, std::error_code& ec)
      : folder_{detail::open_at(AT_FDCWD, folder.c_str(), O_RDONLY | O_DIRECTORY, ec)} {}

  /// The same; throws `std::system_error`.
  explicit tree_root(const std::filesystem::path& folder) {
    std::error_code ec;
    folder_ = detail::open_at(AT_FDCWD, folder.c_str(), O_RDONLY | O_DIRECTORY, ec);
    if (ec) throw std::system_error{ec, folder.string()};
  }

  /// A root stays where it is: its sinks refer to it.
  tree_root(const tree_root&) = delete;
  tree_root& operator=(const tree_root&) = delete;

  /// Opens the file that stands under `name`. Nothing, and why, if none does: the errors are those
  /// of `tree_sink::open` and of `file_source`, and `ELOOP` or the like for a symbolic link.
  std::optional<file_source> existing(std::string_view name, std::error_code& ec) const;

 private:
  friend class tree_sink;

  detail::descriptor folder_;
  /// Held while a sink makes folders and opens its file in them, or removes them.
  std::mutex making_;
  /// What sinks have made and none has committed a file to, by its name below the root.
  std::map<std::string, std::weak_ptr<detail::made_folder>, std::less<>> made_;
};

/// Writes files below a folder, each seen under its name only once it is whole.
///
/// The folder is opened once, and each folder in a name within the one before: no symbolic link
/// below it is followed, and nobody who moves folders or puts links there meanwhile can lead a file
/// elsewhere. Folders that are missing are made; those that were made for files of which none is
/// committed are removed again, unless something else has come to stand there. Else it is as with
/// `file_sink`.
///
/// One sink takes any number of files, one after the other. Several may share a `tree_root`.
class tree_sink {
 public:
  /// Opens `folder`, following symbolic links in its path. Sets `ec` to the system's code if it
  /// can't be opened, `ENOTDIR` if it is no folder. The sink is of no use then.
  tree_sink(const std::filesystem::path& folder, on_existing policy, std::error_code& ec)
      : own_{std::in_place, folder, ec}, root_{*own_}, policy_{policy} {}

  /// The same; throws `std::system_error`.
  explicit tree_sink(const std::filesystem::path& folder, on_existing policy = on_existing::keep)
      : own_{std::in_place, folder}, root_{*own_}, policy_{policy} {}

  /// A sink beside others, which may be at work on other threads. `root` must outlive it.
  explicit tree_sink(tree_root& root, on_existing policy = on_existing::keep) noexcept
      : root_{root}, policy_{policy} {}

  /// A sink stays where it is: an operation refers to it.
  tree_sink(const tree_sink&) = delete;
  tree_sink& operator=(const tree_sink&) = delete;
  ~tree_sink() { discard(); }

  /// Begins the file under the name and with the time that the server tells. The errors are those
  /// of `open`.
  template <class Digest>
  void announce(const file_info<Digest>& file, std::error_code& ec) {
    open(file.name, ec);
    if (!ec && file.modified) modified(*file.modified);
  }

  /// Begins a file under `name`, and gives up one that was begun and not committed.
  ///
  /// Sets `ec` to `errc::bad_name` if `name` is none; to `ELOOP` if a symbolic link stands where a
  /// folder is to be, to `ENOTDIR` if anything else does; to `errc::file_exists`, `EISDIR` and
  /// `ENOTSUP` as `file_sink` does; else to the system's code, such as `ENAMETOOLONG`. Nothing is
  /// left then.
  ///
  /// \param part  the name of a file beside it that an earlier attempt may have left, as
  ///        `file_sink` has it; empty for none.
  void open(std::string_view name, std::string part, std::error_code& ec);
  void open(std::string_view name, std::error_code& ec) { open(name, {}, ec); }

  // What `file_sink` has of the same name, for the file that was begun.

  std::uint64_t held() const noexcept { return file_ ? file_->held() : 0; }
  std::size_t read_held(std::span<std::byte> to, std::uint64_t offset, std::error_code& ec) {
    return file_->read_held(to, offset, ec);
  }
  void drop_held(std::error_code& ec) noexcept {
    ec.clear();
    if (file_) file_->drop_held(ec);
  }

  /// Leaves what was written as the part, and the folders that were made for it.
  void keep() noexcept {
    if (file_) file_->keep();
    discard();
  }

  /// As `tree_root` has it.
  std::optional<file_source> existing(std::string_view name, std::error_code& ec) const {
    return root_.existing(name, ec);
  }

  /// Has `commit` give the file that was begun this time of modification.
  void modified(file_time time) noexcept {
    if (file_) file_->modified(time);
  }

  /// Takes the file's next bytes. The errors are those of `file_sink`, and `EBADF` before a file
  /// was begun.
  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    if (file_) file_->write(bytes, ec);
    else ec = detail::system_code(EBADF);
  }

  /// Shows the file under its name, and brings it and the folders that were made for it onto the
  /// disk. The errors are those of `file_sink`, and `EBADF` before a file was begun.
  void commit(std::error_code& ec);

  /// Removes what was begun and not committed, as the destructor and another `open` do.
  void discard() noexcept {
    const std::lock_guard lock{root_.making_};
    drop();
  }

 private:
  detail::descriptor enter(detail::descriptor folder, std::string_view path, std::string name,
                           std::error_code& ec);

  /// Lets go of the file and of the folders that were made for it, and for others. To be called
  /// under the lock.
  void drop() noexcept {
    file_.reset();
    if (made_.empty()) return;
    while (!made_.empty()) made_.pop_back();
    std::erase_if(root_.made_, [](const auto& made) { return made.second.expired(); });
  }

  std::optional<tree_root> own_;
  tree_root& root_;
  on_existing policy_;
  /// Folders above the file that was begun that no file has been committed to, the deepest last.
  std::vector<std::shared_ptr<detail::made_folder>> made_;
  std::optional<file_sink> file_;
};

inline void tree_sink::open(std::string_view name, std::string part, std::error_code& ec) {
  const std::lock_guard lock{root_.making_};
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

/// Opens the folder `name` in `folder`, which is made if nothing is there. Below the root it is
/// `path`.
inline detail::descriptor tree_sink::enter(detail::descriptor folder, std::string_view path,
                                           std::string name, std::error_code& ec) {
  const bool made = detail::make_folder(folder.get(), name.c_str(), ec);
  if (ec) return {};
  auto entered = detail::open_folder(folder.get(), name.c_str(), ec);
  if (ec) {  // Linux says of a symbolic link only that it is no folder.
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
  auto at = detail::open_beneath(folder_.get(), name, detail::file_flags, ec);
  if (ec) return std::nullopt;
  file_source found{at.release(), ec};
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
  const std::lock_guard lock{root_.making_};
  for (const auto& made : made_) made->kept = true;
  drop();
}

static_assert(announced_sink<tree_sink, digest<16>>);

}  // namespace filexfer

#endif
