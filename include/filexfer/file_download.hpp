#ifndef FILEXFER_FILE_DOWNLOAD_HPP
#define FILEXFER_FILE_DOWNLOAD_HPP

/// \file
/// Downloads to the disk, as elements for a `transfer_pool`.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/time_of.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/entry.hpp>
#include <filexfer/file.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/transfer_types.hpp>
#include <filexfer/tree_sink.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>

namespace filexfer {

/// Where files are downloaded to: a folder, below which they stand under the names that they have
/// at the server, or one file. Copies are cheap and the same target, for any thread.
class download_target {
 public:
  /// A folder that is there. Sets `ec` to the system's code if it can't be opened, `ENOTDIR` if it
  /// is no folder. The target is of no use then.
  static download_target folder(const std::filesystem::path& path, on_existing policy,
                                std::error_code& ec) {
    ec.clear();
    download_target made{path, policy};
    made.state_->root.emplace(path, ec);
    return made;
  }

  /// The same; throws `std::system_error`.
  static download_target folder(const std::filesystem::path& path,
                                on_existing policy = on_existing::keep) {
    download_target made{path, policy};
    made.state_->root.emplace(path);
    return made;
  }

  /// A file that is to come, whatever it is called at the server.
  static download_target file(const std::filesystem::path& path,
                              on_existing policy = on_existing::keep) {
    return {path, policy};
  }

  /// Where a file of that name comes to.
  std::filesystem::path path_of(const std::string& name) const {
    return state_->root ? state_->path / name : state_->path;
  }

  /// Whether that depends on the name.
  bool is_folder() const noexcept { return state_->root.has_value(); }

 private:
  friend class file_download;

  struct state {
    state(std::filesystem::path p, on_existing what) : path{std::move(p)}, policy{what} {}

    std::filesystem::path path;
    on_existing policy;
    std::optional<tree_root> root{};  ///< None for a file.
  };

  download_target(const std::filesystem::path& path, on_existing policy)
      : state_{std::make_shared<state>(path, policy)} {}

  std::shared_ptr<state> state_;
};

/// A file of the server that is to come to a `download_target`: a `download_element`.
///
/// It is seen under its name only once it is whole. What came of an attempt that failed is kept
/// beside it, as `.filexfer-ID.part`, for the next one, now or in another process; unless it was
/// not known before that attempt where it is to stand. A file that is there already and has the
/// same digest is left, and gets the time that is wanted.
class file_download {
 public:
  /// A file of which the id is known only. The rest is learnt from the server.
  file_download(download_target to, const any_digest& id) : to_{std::move(to)}, id_{id} {}

  /// A file of the server's list, with that name and time.
  file_download(download_target to, listed_file file)
      : to_{std::move(to)}, id_{file.id}, known_{std::move(file)} {}

  const any_digest& id() const noexcept { return id_; }
  std::optional<std::uint64_t> size() const noexcept {
    return known_ ? std::optional{known_->size} : std::nullopt;
  }

  /// Empty as long as it is not known.
  std::string name() const { return known_ ? known_->name : std::string{}; }

  /// Where it comes to; empty as long as that is not known.
  std::filesystem::path path() const {
    return known_ || !to_.is_folder() ? to_.path_of(name()) : std::filesystem::path{};
  }

  /// The file that stands there. A symbolic link is none.
  std::optional<file_source> existing(std::error_code& ec) const {
    const auto& to = *to_.state_;
    if (to.root) return to.root->existing(name(), ec);
    constexpr int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    auto opened = detail::open_at(AT_FDCWD, to.path.c_str(), flags, ec);
    if (ec) return std::nullopt;
    file_source found{opened.release(), ec};
    return ec ? std::nullopt : std::optional{std::move(found)};
  }

  /// Gives the file that stands there the wanted time, as far as that is known.
  void settle(std::error_code& ec) const {
    ec.clear();
    if (!known_ || !known_->modified) return;
    const auto found = existing(ec);
    if (found && found->modified() != *known_->modified) {
      detail::set_modified(found->native_handle(), *known_->modified, ec);
    }
  }

  class sink;

  /// The errors are those of `file_sink` and `tree_sink`.
  sink open(std::error_code& ec);

 private:
  download_target to_;
  any_digest id_;
  std::optional<listed_file> known_;
};

/// Writes a `file_download`, which must outlive it. It is a `resumable_sink`.
class file_download::sink {
 public:
  sink(file_download& download, std::error_code& ec) : download_{download} {
    ec.clear();
    auto& to = *download_.to_.state_;
    if (to.root) tree_.emplace(*to.root, to.policy);
    else file_.emplace(to.path, to.policy, part(), ec);
    if (tree_ && download_.known_) tree_->open(download_.known_->name, part(), ec);
  }

  template <class Digest>
  void announce(const file_info<Digest>& file, std::error_code& ec) {
    ec.clear();
    auto& known = download_.known_;
    if (!known) {
      known = {download_.id_, file.name, file.size, file.modified};
      if (tree_) tree_->open(known->name, ec);
    }
    if (ec || !known->modified) return;
    if (tree_) tree_->modified(*known->modified);
    else file_->modified(*known->modified);
  }

  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    if (tree_) tree_->write(bytes, ec);
    else file_->write(bytes, ec);
  }

  void commit(std::error_code& ec) {
    if (tree_) tree_->commit(ec);
    else file_->commit(ec);
  }

  std::uint64_t held() const noexcept { return tree_ ? tree_->held() : file_->held(); }

  std::size_t read_held(std::span<std::byte> to, std::uint64_t offset, std::error_code& ec) {
    return tree_ ? tree_->read_held(to, offset, ec) : file_->read_held(to, offset, ec);
  }

  void drop_held(std::error_code& ec) {
    if (tree_) tree_->drop_held(ec);
    else file_->drop_held(ec);
  }

  /// Leaves what has come as the part. A sink that is destroyed without it, or without `commit`,
  /// leaves nothing.
  void keep() {
    if (tree_) tree_->keep();
    else file_->keep();
  }

 private:
  std::string part() const { return ".filexfer-" + download_.id_.to_string() + ".part"; }

  file_download& download_;
  std::optional<tree_sink> tree_;  ///< Or else there is a file.
  std::optional<file_sink> file_;
};

inline file_download::sink file_download::open(std::error_code& ec) { return {*this, ec}; }

static_assert(resumable_sink<file_download::sink>);
static_assert(announced_sink<file_download::sink, any_digest>);
static_assert(download_element<file_download>);

}  // namespace filexfer

#endif
