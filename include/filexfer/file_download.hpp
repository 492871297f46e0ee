#ifndef FILEXFER_FILE_DOWNLOAD_HPP
#define FILEXFER_FILE_DOWNLOAD_HPP

/// \file
/// Downloads to the disk, as elements for a `transfer_pool`.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/time_of.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/entry.hpp>
#include <filexfer/file.hpp>
#include <filexfer/options.hpp>
#include <filexfer/publication.hpp>
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

/// Where files are downloaded to: a folder, below which they get the names that they have at the
/// server, or a single file. Copies are cheap, share the target, and may be used on any thread.
/// \snippet files.cpp download_target
class download_target {
 public:
  /// Opens an existing folder as a target.
  ///
  /// \param path    The folder.
  /// \param policy  What to do where a file exists.
  /// \param ec      Cleared, or set to `ENOTDIR` if it is not a folder, else to the system's code.
  /// \return The target; unusable if `ec` is set.
  static download_target folder(const std::filesystem::path& path, on_existing policy,
                                std::error_code& ec) {
    ec.clear();
    download_target target{path, policy};
    target.state_->root.emplace(path, ec);
    return target;
  }

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param path    The folder.
  /// \param policy  What to do where a file exists.
  /// \return The target.
  static download_target folder(const std::filesystem::path& path,
                                on_existing policy = on_existing::keep) {
    download_target target{path, policy};
    target.state_->root.emplace(path);
    return target;
  }

  /// A target for a single file, whatever its name at the server.
  /// \param path    The file.
  /// \param policy  What to do if it exists.
  /// \return The target.
  static download_target file(const std::filesystem::path& path,
                              on_existing policy = on_existing::keep) {
    return {path, policy};
  }

  /// \param name  The name of a file at the server.
  /// \return The path to which it is downloaded.
  std::filesystem::path path_of(const std::string& name) const {
    return state_->root ? state_->path / name : state_->path;
  }

  /// Sets whether files are flushed before they are reported as complete, for all copies of the
  /// target. To be called before a download to it begins.
  /// \param mode  `flush_mode::on` is the default.
  void flushing(flush_mode mode) noexcept { state_->flushing = mode; }

  /// \return Whether the target is a folder.
  bool is_folder() const noexcept { return state_->root.has_value(); }

 private:
  friend class file_download;

  struct state {
    state(std::filesystem::path p, on_existing existing) : path{std::move(p)}, policy{existing} {}

    std::filesystem::path path;
    on_existing policy;
    flush_mode flushing = flush_mode::on;
    std::optional<tree_root> root{};  ///< Not set for a single file.
  };

  download_target(const std::filesystem::path& path, on_existing policy)
      : state_{std::make_shared<state>(path, policy)} {}

  std::shared_ptr<state> state_;
};

/// A file at the server to be written to a `download_target`. It models `download_element`.
///
/// It appears under its name only once it is complete. An interrupted attempt leaves its bytes
/// beside the target as `.filexfer-ID.part`, from which the next attempt resumes, also in another
/// process. It leaves none if the target's path was unknown when it started, nor of a new file that
/// is known to have less than 64 KiB, below a folder where `tree_root::supports_nameless_files`. An
/// existing file with the same digest is left, and gets the wanted time.
/// \snippet files.cpp file_download
class file_download {
 public:
  /// A file of which only the id is known. The rest is learnt from the server.
  /// \param to  The target.
  /// \param id  The file's id.
  file_download(download_target to, const any_digest& id) : to_{std::move(to)}, id_{id} {}

  /// A file from the server's list.
  /// \param to    The target.
  /// \param file  Its entry. The local file gets its time, if set, and below a folder its name.
  file_download(download_target to, listed_file file)
      : to_{std::move(to)}, id_{file.id}, known_{std::move(file)} {}

  /// \return The file's id.
  const any_digest& id() const noexcept { return id_; }
  /// \return Its size in bytes, once known.
  std::optional<std::uint64_t> size() const noexcept {
    return known_ ? std::optional{known_->size} : std::nullopt;
  }

  /// \return Its modification time at the server, if known.
  std::optional<file_time> modified() const noexcept {
    return known_ ? known_->modified : std::nullopt;
  }

  /// \return False once the local file was given that time, but its file system can't keep it: the
  ///   file has the nearest that it can.
  bool keeps_time() const noexcept { return keeps_time_; }

  /// \return Its name at the server; empty until known.
  std::string name() const { return known_ ? known_->name : std::string{}; }

  /// \return The path of the local file; empty until known.
  std::filesystem::path path() const {
    return known_ || !to_.is_folder() ? to_.path_of(name()) : std::filesystem::path{};
  }

  /// \return The path of the part, from which an interrupted download resumes; empty until known.
  std::filesystem::path part_path() const {
    const auto file = path();
    return file.empty() ? file : file.parent_path() / part_name();
  }

  /// Opens the file that exists at the target. A symbolic link is not followed.
  /// \param ec  Cleared, or set as by `tree_root::existing`.
  /// \return The file; nothing if `ec` is set.
  std::optional<file_source> existing(std::error_code& ec) const {
    const auto& to = *to_.state_;
    if (to.root) return to.root->existing(name(), ec);
    constexpr int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    auto opened = detail::open_at(AT_FDCWD, to.path.c_str(), flags, ec);
    if (ec) return std::nullopt;
    file_source found{opened.release(), ec};
    return ec ? std::nullopt : std::optional{std::move(found)};
  }

  /// Gives the existing file the attributes of the server's, as far as they are known.
  /// \param ec  Cleared, or set as by `existing`, else to the system's code.
  void accept_existing(std::error_code& ec) {
    ec.clear();
    keeps_time_ = true;
    if (!known_ || !(known_->modified || known_->executable)) return;
    const auto found = existing(ec);
    if (!found) return;
    if (known_->executable.value_or(found->executable()) != found->executable()) {
      detail::set_executable(found->native_handle(), *known_->executable, ec);
    }
    if (!ec && known_->modified && found->modified() != *known_->modified) {
      keeps_time_ = detail::set_and_check_modified(found->native_handle(), *known_->modified, ec);
    }
  }

  class sink;

  /// Opens the target for writing. If its path is unknown, `sink::announce` opens it.
  /// \param ec  Cleared, or set as by `file_sink`, or `tree_sink::open`.
  /// \return The sink; unusable if `ec` is set.
  sink open(std::error_code& ec);

 private:
  std::string part_name() const { return ".filexfer-" + id_.to_string() + ".part"; }

  download_target to_;
  any_digest id_;
  std::optional<listed_file> known_;
  bool keeps_time_ = true;
};

/// Writes a `file_download`. It models `resumable_sink` and `announced_sink`.
class file_download::sink {
 public:
  /// Used by `file_download::open`.
  /// \param download  Must outlive the sink.
  /// \param ec        As for `file_download::open`.
  sink(file_download& download, std::error_code& ec) : download_{download} {
    ec.clear();
    auto& to = *download_.to_.state_;
    if (to.root) tree_.emplace(*to.root, to.policy);
    else file_.emplace(to.path, to.policy, download_.part_name(), ec);
    if (tree_) tree_->flushing(to.flushing);
    else file_->flushing(to.flushing);
    if (!tree_ || !download_.known_) return;
    // Who can write it without a name receives a small file anew rather than resume it.
    const bool has_part = download_.known_->size >= smallest_part ||
                          to.policy != on_existing::keep || !to.root->supports_nameless_files();
    tree_->open(download_.known_->name, has_part ? download_.part_name() : "", ec);
  }

  /// Records the file's name, size and attributes if they were unknown, and opens the target if its
  /// path was.
  /// \param file  The server's entry.
  /// \param ec    As for `tree_sink::open`.
  template <class Digest>
  void announce(const file_info<Digest>& file, std::error_code& ec) {
    ec.clear();
    auto& known = download_.known_;
    if (!known) {
      known = {download_.id_, file.name, file.size, file.modified, file.executable};
      if (tree_) tree_->open(known->name, ec);
    }
    if (ec) return;
    const auto set_attributes = [&known](auto& opened) {
      if (known->modified) opened.modified(*known->modified);
      opened.executable(known->executable.value_or(false));
    };
    if (tree_) set_attributes(*tree_);
    else set_attributes(*file_);
  }

  /// Writes the file's next bytes.
  /// \param bytes  The bytes.
  /// \param ec     As for `file_sink::write`.
  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    if (tree_) tree_->write(bytes, ec);
    else file_->write(bytes, ec);
  }

  /// Publishes the file at the target, flushed, unless the target is not to.
  /// \param ec  As for `file_sink::commit`.
  void commit(std::error_code& ec) {
    publication* const left = begin_commit(ec);
    if (!ec) publish(*left, ec);
  }

  /// As `file_sink::begin_commit`.
  /// \param ec  As for `commit`.
  /// \return What `commit` does then; null if `ec` is set.
  publication* begin_commit(std::error_code& ec) {
    publication* const left = tree_ ? tree_->begin_commit(ec) : file_->begin_commit(ec);
    download_.keeps_time_ = tree_ ? tree_->keeps_time() : file_->keeps_time();
    return left;
  }

  /// \return The number of bytes that the part holds.
  std::uint64_t held() const noexcept { return tree_ ? tree_->held() : file_->held(); }

  /// Reads from the part.
  /// \param to      Buffer to fill.
  /// \param offset  In bytes, from the start of the part.
  /// \param ec      Cleared, or set to the system's code.
  /// \return The number of bytes read.
  std::size_t read_held(std::span<std::byte> to, std::uint64_t offset, std::error_code& ec) {
    return tree_ ? tree_->read_held(to, offset, ec) : file_->read_held(to, offset, ec);
  }

  /// Empties the part.
  /// \param ec  Cleared, or set to the system's code.
  void discard_held(std::error_code& ec) {
    if (tree_) tree_->discard_held(ec);
    else file_->discard_held(ec);
  }

  /// Keeps the received bytes as the part. A sink that is destroyed without `keep` or `commit`
  /// leaves nothing.
  void keep() {
    if (tree_) tree_->keep();
    else file_->keep();
  }

 private:
  static constexpr std::uint64_t smallest_part = 64 * 1024;  // bytes

  file_download& download_;
  std::optional<tree_sink> tree_;  ///< For a folder,
  std::optional<file_sink> file_;  ///< else this.
};

inline file_download::sink file_download::open(std::error_code& ec) { return {*this, ec}; }

static_assert(resumable_sink<file_download::sink>);
static_assert(announced_sink<file_download::sink, any_digest>);
static_assert(download_element<file_download>);

}  // namespace filexfer

#endif
