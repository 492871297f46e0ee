#ifndef FILEXFER_TREE_SOURCE_HPP
#define FILEXFER_TREE_SOURCE_HPP

/// \file
/// A folder as a range of files to upload.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/file.hpp>

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>

namespace filexfer {

/// What a `tree_source` does with a symbolic link that it meets.
enum class on_symlink {
  skip,   ///< Reports it, with `errc::symbolic_link`.
  follow  ///< Takes what it leads to, wherever that is.
};

namespace detail {

/// The folder that a tree is below.
struct tree_folder {
  std::filesystem::path path;
  on_symlink links = on_symlink::skip;
  descriptor handle{};
};

}  // namespace detail

/// An entry below a folder: a regular file, or what is none and why. It may outlive its
/// `tree_source`, and is an `upload_element`.
class tree_file {
 public:
  tree_file(std::shared_ptr<const detail::tree_folder> tree, std::string name, std::error_code ec)
      : tree_{std::move(tree)}, name_{std::move(name)}, error_{ec} {}

  /// The name relative to the folder, whose components `/` separates. Empty for the folder itself,
  /// which only an error is about.
  const std::string& name() const noexcept { return name_; }

  /// The folder's path and the name.
  std::filesystem::path path() const { return name_.empty() ? tree_->path : tree_->path / name_; }

  /// Why it can't be uploaded: `errc::symbolic_link`, `errc::special_file`, `errc::folder_cycle`,
  /// `errc::bad_name`, or the system's code.
  std::error_code error() const noexcept { return error_; }

  /// Opens the file. Unless links are followed, no symbolic link below the folder is, whoever puts
  /// one there meanwhile. The errors are those of `file_source`, and `ELOOP` or `ENOTDIR` for a
  /// link; the source is of no use then.
  file_source open(std::error_code& ec) const {
    const int folder = tree_->handle.get();
    auto file = tree_->links == on_symlink::follow
                    ? detail::open_at(folder, name_.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY, ec)
                    : detail::open_beneath(folder, name_, detail::file_flags | O_NOCTTY, ec);
    if (!ec) return file_source{file.release(), ec};
    std::error_code no_file;
    return file_source{-1, no_file};
  }

 private:
  std::shared_ptr<const detail::tree_folder> tree_;
  std::string name_;
  std::error_code error_;
};

/// The files below a folder: an input range of `tree_file`, gone through once.
///
/// What can't be uploaded is an element with an error, and the walk goes on behind it: symbolic
/// links, unless they are followed; what is neither a file nor a folder; folders that can't be
/// read; names that are none for the protocol (`is_name`).
///
/// Of each folder on the way to the current entry at most `max_names` names are held, sorted by
/// their bytes, and a descriptor, 128 at most: nobody can lead the walk elsewhere by moving
/// folders, and a folder of a million files is never held whole. Files are opened by their
/// elements.
class tree_source {
 public:
  /// Names of a folder that are read at a time. A folder with fewer entries comes in order.
  static constexpr std::size_t max_names = 4096;

  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = tree_file;
    using difference_type = std::ptrdiff_t;

    iterator() noexcept = default;
    explicit iterator(tree_source& source) noexcept : source_{&source} {}

    tree_file& operator*() const noexcept { return source_->current_.front(); }
    iterator& operator++() {
      source_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const noexcept { return source_->current_.empty(); }

   private:
    tree_source* source_ = nullptr;
  };

  /// Opens `folder`, which may be a symbolic link itself. Sets `ec` to the system's code if it
  /// can't be opened, `ENOTDIR` if it is no folder; the range is empty then.
  tree_source(const std::filesystem::path& folder, on_symlink links, std::error_code& ec) {
    auto tree = std::make_shared<detail::tree_folder>(detail::tree_folder{folder, links});
    tree->handle = detail::open_at(AT_FDCWD, folder.c_str(), O_RDONLY | O_DIRECTORY, ec);
    tree_ = std::move(tree);
    if (!ec) enter(detail::reopen_folder(tree_->handle.get(), ec), ec);
    if (ec) levels_.clear();
  }

  /// The same; throws `std::system_error`.
  explicit tree_source(const std::filesystem::path& folder, on_symlink links = on_symlink::skip)
      : tree_source{folder, links, std::error_code{}} {}

  tree_source(tree_source&&) noexcept = default;
  tree_source& operator=(tree_source&&) noexcept = default;

  /// Starts, or goes on behind what an earlier iterator has passed.
  iterator begin() {
    if (current_.empty()) advance();
    return iterator{*this};
  }
  static std::default_sentinel_t end() noexcept { return {}; }

 private:
  /// A folder that the walk is in.
  struct level {
    detail::folder_reader reader;
    struct stat status {};
    std::vector<std::string> names{};  ///< That were read and not visited, the next one last.
    bool is_read = false;              ///< To its end, or as far as that is possible.
    std::size_t prefix = 0;            ///< Bytes of a name here that are the folders above.
  };

  tree_source(const std::filesystem::path& folder, on_symlink links, std::error_code&& ec)
      : tree_source{folder, links, ec} {
    if (ec) throw std::system_error{ec, folder.string()};
  }

  /// Goes to the next entry; `current_` is empty at the end.
  void advance() {
    current_.clear();
    while (current_.empty() && !levels_.empty()) {
      level& last = levels_.back();
      name_.resize(last.prefix);
      if (last.names.empty() && !last.is_read) read_names(last);
      if (!current_.empty()) return;
      if (last.names.empty()) {
        levels_.pop_back();
        continue;
      }
      const std::string leaf = std::move(last.names.back());
      last.names.pop_back();
      name_ += leaf;
      visit(last.reader.handle(), leaf.c_str());
    }
  }

  void read_names(level& folder) {
    std::error_code ec;
    while (folder.names.size() < max_names) {
      const auto entry = folder.reader.next(ec);
      if (entry.name == nullptr) {
        folder.is_read = true;
        break;
      }
      folder.names.emplace_back(entry.name);
    }
    std::sort(folder.names.begin(), folder.names.end(), std::greater<>{});
    if (ec) yield(name_.substr(0, name_.empty() ? 0 : name_.size() - 1), ec);
  }

  /// Takes the entry `leaf` of the folder, or enters it.
  void visit(int folder, const char* leaf) {
    std::error_code ec;
    struct stat status = detail::status_at(folder, leaf, ec);
    const bool is_link = !ec && S_ISLNK(status.st_mode);
    if (is_link && tree_->links == on_symlink::skip) ec = errc::symbolic_link;
    else if (is_link && ::fstatat(folder, leaf, &status, 0) != 0) ec = detail::last_error();
    if (ec) return yield(ec);
    const bool is_folder = S_ISDIR(status.st_mode);
    if (!is_folder && !S_ISREG(status.st_mode)) return yield(errc::special_file);
    if (!is_name(name_)) return yield(errc::bad_name);
    if (!is_folder) return yield({});
    const int flags = is_link ? O_RDONLY | O_DIRECTORY : detail::folder_flags;
    enter(detail::open_at(folder, leaf, flags, ec), ec);
    if (ec) yield(ec);
  }

  void enter(detail::descriptor folder, std::error_code& ec) {
    if (ec) return;
    level entered{};
    entered.status = detail::status_of(folder.get(), ec);
    if (!ec && is_within(entered.status)) ec = errc::folder_cycle;
    if (!ec) entered.reader = detail::folder_reader{std::move(folder), ec};
    if (ec) return;
    if (!name_.empty()) name_ += '/';
    entered.prefix = name_.size();
    levels_.push_back(std::move(entered));
  }

  /// Whether the walk is in that folder: it would never end if it entered it again.
  bool is_within(const struct stat& folder) const {
    return std::any_of(levels_.begin(), levels_.end(),
                       [&](const level& above) { return detail::same_file(above.status, folder); });
  }

  void yield(std::error_code ec) { yield(name_, ec); }
  void yield(std::string name, std::error_code ec) {
    current_.emplace_back(tree_, std::move(name), ec);
  }

  std::shared_ptr<const detail::tree_folder> tree_;
  std::vector<level> levels_;
  std::string name_;                ///< Of the entry that is visited.
  std::vector<tree_file> current_;  ///< One, or none at the end.
};

}  // namespace filexfer

#endif
