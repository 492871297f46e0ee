#ifndef FILEXFER_TREE_SINK_HPP
#define FILEXFER_TREE_SINK_HPP

/// \file
/// A folder to download into, below which files stand under the names that they have at the server.

#include <filexfer/detail/descriptor.hpp>
#include <filexfer/detail/folder.hpp>
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
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer {

/// Writes files below a folder, each seen under its name only once it is whole.
///
/// The folder is opened once, and each folder in a name within the one before: no symbolic link
/// below it is followed, and nobody who moves folders or puts links there meanwhile can lead a file
/// elsewhere. Folders that are missing are made; those that were made for a file that is not
/// committed are removed again, unless something else has come to stand there. Else it is as with
/// `file_sink`.
///
/// One sink takes any number of files, one after the other.
class tree_sink {
 public:
  /// Opens `folder`, following symbolic links in its path. Sets `ec` to the system's code if it
  /// can't be opened, `ENOTDIR` if it is no folder. The sink is of no use then.
  tree_sink(const std::filesystem::path& folder, on_existing policy, std::error_code& ec)
      : root_{detail::open_at(AT_FDCWD, folder.c_str(), O_RDONLY | O_DIRECTORY, ec)},
        policy_{policy} {}

  /// The same; throws `std::system_error`.
  explicit tree_sink(const std::filesystem::path& folder, on_existing policy = on_existing::keep)
      : policy_{policy} {
    std::error_code ec;
    root_ = detail::open_at(AT_FDCWD, folder.c_str(), O_RDONLY | O_DIRECTORY, ec);
    if (ec) throw std::system_error{ec, folder.string()};
  }

  /// A sink stays where it is: an operation refers to it.
  tree_sink(const tree_sink&) = delete;
  tree_sink& operator=(const tree_sink&) = delete;
  ~tree_sink() { give_up(); }

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
    give_up();
  }

  /// Opens the file that stands under `name`. Nothing, and why, if none does: the errors are those
  /// of `open` and of `file_source`, and `ELOOP` or the like for a symbolic link.
  std::optional<file_source> existing(std::string_view name, std::error_code& ec) const;

  /// Has `commit` give the file that was begun this time of modification.
  void modified(file_time time) noexcept {
    if (file_) file_->modified(time);
  }

  /// Takes the file's next octets. The errors are those of `file_sink`, and `EBADF` before a file
  /// was begun.
  void write(std::span<const std::byte> octets, std::error_code& ec) {
    if (file_) file_->write(octets, ec);
    else ec = detail::system_code(EBADF);
  }

  /// Shows the file under its name, and brings it and the folders that were made for it onto the
  /// disk. The errors are those of `file_sink`, and `EBADF` before a file was begun.
  void commit(std::error_code& ec);

  /// Removes what was begun and not committed, as the destructor and another `open` do.
  void give_up() noexcept {
    file_.reset();
    for (; !made_.empty(); made_.pop_back()) {  // one that is not empty stays
      ::unlinkat(made_.back().parent.get(), made_.back().name.c_str(), AT_REMOVEDIR);
    }
  }

 private:
  struct made_folder {
    detail::descriptor parent;
    std::string name;
  };

  detail::descriptor enter(detail::descriptor folder, std::string name, std::error_code& ec);

  detail::descriptor root_;
  on_existing policy_;
  std::vector<made_folder> made_;  ///< For the file that was begun, the deepest last.
  std::optional<file_sink> file_;
};

inline void tree_sink::open(std::string_view name, std::string part, std::error_code& ec) {
  give_up();
  if (!is_name(name)) {
    ec = errc::bad_name;
    return;
  }
  auto folder = detail::reopen_folder(root_.get(), ec);
  while (!ec && name.find('/') != name.npos) {
    folder = enter(std::move(folder), detail::take_component(name), ec);
  }
  if (!ec)
    file_.emplace(file_sink{std::move(folder), std::string{name}, policy_, std::move(part), ec});
  if (ec) give_up();
}

/// Opens the folder `name` in `folder`, which is made if nothing is there.
inline detail::descriptor tree_sink::enter(detail::descriptor folder, std::string name,
                                           std::error_code& ec) {
  const bool made = detail::make_folder(folder.get(), name.c_str(), ec);
  if (ec) return {};
  auto entered = detail::open_folder(folder.get(), name.c_str(), ec);
  if (ec) {  // Linux says of a symbolic link only that it is no folder.
    std::error_code unknown;
    const auto status = detail::status_at(folder.get(), name.c_str(), unknown);
    if (!unknown && S_ISLNK(status.st_mode)) ec = detail::system_code(ELOOP);
  }
  if (made) made_.push_back({std::move(folder), std::move(name)});
  return entered;
}

inline std::optional<file_source> tree_sink::existing(std::string_view name,
                                                      std::error_code& ec) const {
  if (!is_name(name)) {
    ec = errc::bad_name;
    return std::nullopt;
  }
  auto at = detail::reopen_folder(root_.get(), ec);
  while (!ec && name.find('/') != name.npos) {
    at = detail::open_folder(at.get(), detail::take_component(name).c_str(), ec);
  }
  if (!ec) at = detail::open_at(at.get(), std::string{name}.c_str(), detail::file_flags, ec);
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
    detail::flush(made->parent.get(), ec);
  }
  if (ec) return;
  made_.clear();
  file_.reset();
}

static_assert(announced_sink<tree_sink, digest<16>>);

}  // namespace filexfer

#endif
