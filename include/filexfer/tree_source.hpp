#ifndef FILEXFER_TREE_SOURCE_HPP
#define FILEXFER_TREE_SOURCE_HPP

/// \file
/// A folder as a range of files to upload.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/file.hpp>
#include <filexfer/name_filter.hpp>

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

/// What a `tree_source` does with a symbolic link.
enum class on_symlink {
  skip,   ///< Reports it with `errc::symbolic_link`.
  follow  ///< Follows it, wherever it leads.
};

/// Which entries of a folder a `tree_source` has.
///
/// \snippet names.cpp name_filter
struct tree_options {
  on_symlink links = on_symlink::skip;  ///< What it does with symbolic links.
  /// Matched with the names below the folder. What it excludes is not an element, not even if it
  /// can't be uploaded; a folder that it excludes is not entered.
  name_filter filter{};
};

namespace detail {

/// The root of a tree.
struct tree_folder {
  std::filesystem::path path;
  tree_options options{};
  descriptor handle{};
};

}  // namespace detail

/// An entry below a folder: a regular file, or one that can't be uploaded, with the reason. It is
/// an `upload_element`, and may outlive its `tree_source`.
/// \snippet tree.cpp tree_file
class tree_file {
 public:
  /// Used by `tree_source`.
  ///
  /// \param tree  The root, shared with the source.
  /// \param name  What `name()` returns.
  /// \param ec    What `error()` returns.
  tree_file(std::shared_ptr<const detail::tree_folder> tree, std::string name, std::error_code ec)
      : tree_{std::move(tree)}, name_{std::move(name)}, error_{ec} {}

  /// \return The name relative to the folder, its components separated by `/`. Empty for the folder
  /// itself, which is an entry only if it could not be read.
  const std::string& name() const noexcept { return name_; }

  /// \return The folder's path and the name, joined.
  std::filesystem::path path() const { return name_.empty() ? tree_->path : tree_->path / name_; }

  /// \return Why it can't be uploaded: `errc::symbolic_link`, `errc::special_file`,
  /// `errc::folder_cycle`, `errc::bad_name`, or the system's code; no error if it can.
  std::error_code error() const noexcept { return error_; }

  /// Opens the file. If links are skipped, no symbolic link below the folder is followed, not even
  /// one that was created after the walk.
  ///
  /// \param ec  Cleared, or set as by `file_source`; to `ELOOP` or `ENOTDIR` for a symbolic link.
  /// \return The file; unusable if `ec` is set.
  file_source open(std::error_code& ec) const {
    const int folder = tree_->handle.get();
    auto file = tree_->options.links == on_symlink::follow
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

/// The files below a folder: an input range of `tree_file`, for a single pass.
///
/// An entry that can't be uploaded is an element with an error, and the walk continues: a symbolic
/// link, unless links are followed; what is neither a file nor a folder; a folder that can't be
/// read; a name that the protocol does not allow (`is_name`).
///
/// For each folder on the path to the current entry, of which at most 128 are below the root, the
/// source holds an open descriptor and up to `max_names` names, sorted by their bytes. So moving
/// folders can't redirect the walk, and a folder of a million files is never held whole. The source
/// opens no files; its elements do.
/// \snippet tree.cpp tree_source
class tree_source {
 public:
  /// Names of a folder that are read at a time. A folder with fewer is sorted as a whole.
  static constexpr std::size_t max_names = 4096;

  /// An input iterator; ends at `std::default_sentinel`.
  class iterator {
   public:
    using iterator_concept = std::input_iterator_tag;  ///< For a single pass.
    using value_type = tree_file;                      ///< The element.
    using difference_type = std::ptrdiff_t;            ///< As for any iterator.

    iterator() noexcept = default;
    /// \param source  Must outlive this, and not be moved.
    explicit iterator(tree_source& source) noexcept : source_{&source} {}

    /// \return The current entry, valid until the next increment.
    tree_file& operator*() const noexcept { return source_->current_.front(); }
    /// Walks to the next entry.
    /// \return This iterator.
    iterator& operator++() {
      source_->advance();
      return *this;
    }
    /// Walks to the next entry.
    void operator++(int) { ++*this; }
    /// \return Whether the walk has ended.
    bool operator==(std::default_sentinel_t) const noexcept { return source_->current_.empty(); }

   private:
    tree_source* source_ = nullptr;
  };

  /// Opens a folder.
  ///
  /// \param folder  Its path; may be a symbolic link.
  /// \param links   What to do with symbolic links below it.
  /// \param ec      Cleared, or set to `ENOTDIR` if it is not a folder, else to the system's code.
  ///                The range is empty then.
  tree_source(const std::filesystem::path& folder, on_symlink links, std::error_code& ec)
      : tree_source{folder, tree_options{links, {}}, ec} {}

  /// Opens a folder.
  ///
  /// \param folder   Its path; may be a symbolic link.
  /// \param options  Which entries to visit.
  /// \param ec       As above.
  tree_source(const std::filesystem::path& folder, tree_options options, std::error_code& ec) {
    auto tree =
        std::make_shared<detail::tree_folder>(detail::tree_folder{folder, std::move(options)});
    tree->handle = detail::open_at(AT_FDCWD, folder.c_str(), O_RDONLY | O_DIRECTORY, ec);
    tree_ = std::move(tree);
    if (!ec) enter(detail::reopen_folder(tree_->handle.get(), ec), ec);
    if (ec) levels_.clear();
  }

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param folder  Its path; may be a symbolic link.
  /// \param links   What to do with symbolic links below it.
  explicit tree_source(const std::filesystem::path& folder, on_symlink links = on_symlink::skip)
      : tree_source{folder, tree_options{links, {}}} {}

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param folder   Its path; may be a symbolic link.
  /// \param options  Which entries to visit.
  tree_source(const std::filesystem::path& folder, tree_options options)
      : tree_source{folder, std::move(options), std::error_code{}} {}

  /// Moves the walk; not while there are iterators.
  tree_source(tree_source&&) noexcept = default;
  /// Moves the walk; not while there are iterators.
  /// \return This source.
  tree_source& operator=(tree_source&&) noexcept = default;

  /// Starts the walk, or resumes it at the entry that an earlier iterator has reached.
  /// \return An iterator to the current entry.
  iterator begin() {
    if (current_.empty()) advance();
    return iterator{*this};
  }
  /// \return The end of every walk.
  static std::default_sentinel_t end() noexcept { return {}; }

 private:
  struct named_entry {
    std::string name;
    detail::entry_kind kind;
    bool operator>(const named_entry& other) const noexcept { return name > other.name; }
  };

  /// A folder on the path to the current entry.
  struct level {
    detail::folder_reader reader;
    struct stat status {};
    std::vector<named_entry> entries{};  ///< Read but not visited yet, the next one last.
    bool is_read = false;                ///< All entries have been read, or reading has failed.
    std::size_t prefix = 0;              ///< Bytes of `name_` before the name within this folder.
  };

  tree_source(const std::filesystem::path& folder, tree_options options, std::error_code&& ec)
      : tree_source{folder, std::move(options), ec} {
    if (ec) throw std::system_error{ec, folder.string()};
  }

  /// Moves to the next entry; `current_` is empty at the end.
  void advance() {
    current_.clear();
    while (current_.empty() && !levels_.empty()) {
      level& last = levels_.back();
      name_.resize(last.prefix);
      if (last.entries.empty() && !last.is_read) read_entries(last);
      if (!current_.empty()) return;
      if (last.entries.empty()) {
        levels_.pop_back();
        continue;
      }
      const named_entry entry = std::move(last.entries.back());
      last.entries.pop_back();
      name_ += entry.name;
      visit(last.reader.handle(), entry);
    }
  }

  void read_entries(level& folder) {
    std::error_code ec;
    while (folder.entries.size() < max_names) {
      const auto entry = folder.reader.next(ec);
      if (entry.name == nullptr) {
        folder.is_read = true;
        break;
      }
      folder.entries.push_back({entry.name, entry.kind});
    }
    std::sort(folder.entries.begin(), folder.entries.end(), std::greater<>{});
    if (ec) yield(name_.substr(0, name_.empty() ? 0 : name_.size() - 1), ec);
  }

  /// Yields an entry of `folder`, or enters it if it is a folder.
  void visit(int folder, const named_entry& entry) {
    const char* const leaf = entry.name.c_str();
    std::error_code ec;
    bool is_link = false;
    auto kind = entry.kind;
    if (kind != detail::entry_kind::file && kind != detail::entry_kind::folder) {
      struct stat status = detail::status_at(folder, leaf, ec);
      is_link = !ec && S_ISLNK(status.st_mode);
      if (is_link && tree_->options.links == on_symlink::skip) ec = errc::symbolic_link;
      else if (is_link && ::fstatat(folder, leaf, &status, 0) != 0) ec = detail::last_error();
      if (!ec) kind = detail::kind_of(status);
    }
    const bool is_folder = !ec && kind == detail::entry_kind::folder;
    const auto filtered = is_folder ? name_filter::entry::folder : name_filter::entry::file;
    if (!tree_->options.filter.includes_entry(name_, filtered)) return;
    if (ec) return yield(ec);
    if (kind == detail::entry_kind::other) return yield(errc::special_file);
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

  /// Whether the walk is inside that folder. Entering it again would never end.
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
  std::string name_;                ///< Of the entry being visited.
  std::vector<tree_file> current_;  ///< One entry; empty at the end.
};

}  // namespace filexfer

#endif
