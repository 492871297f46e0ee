#ifndef FILEXFER_DETAIL_STORE_ID_FOLDER_HPP
#define FILEXFER_DETAIL_STORE_ID_FOLDER_HPP

#include <filexfer/detail/posix/file_lock.hpp>
#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/detail/store/store_folder.hpp>
#include <filexfer/error.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

/// What to do if an id has no folder.
enum class if_missing { make, leave };

/// `errc::bad_name` for the errors of a file system that can't hold a name beside the existing
/// ones; other errors unchanged.
inline std::error_code name_error(std::error_code ec) noexcept {
  const bool is_bad_name =
      ec == std::errc::filename_too_long || ec == std::errc::not_a_directory ||
      ec == std::errc::is_a_directory || ec == std::errc::illegal_byte_sequence ||
      ec == std::errc::invalid_argument || ec == std::errc::too_many_symbolic_link_levels;
  return is_bad_name ? make_error_code(errc::bad_name) : ec;
}

/// The folder of one id, locked against other publications under that id, and the open folders of a
/// name below it.
class id_folder {
 public:
  /// Takes the lock; `EWOULDBLOCK` if somebody else holds it. Converts to false, without an error,
  /// if the id has no folder and none is to be made. `root` is a handle of the caller's on the
  /// store's root, opened for this publication, or for those that are flushed with it, so that
  /// flushing it reports every failure since; it must outlive this object.
  id_folder(const store_folder& store, int root, const std::string& id, if_missing missing,
            std::error_code& ec)
      : store_{store}, root_{root} {
    constexpr int attempts = 1000;  // Each fails only if a peer removes the folder meanwhile.
    for (int i = 0; i < attempts; ++i) {
      ec.clear();
      const bool made = missing == if_missing::make && make_folder(root_, id.c_str(), ec);
      if (ec) return;
      auto folder = open_folder(root_, id.c_str(), ec);
      if (is_absent(ec) && missing == if_missing::leave) {
        ec.clear();
        return;
      }
      if (ec == std::errc::no_such_file_or_directory) continue;
      if (!ec) lock_id(folder.get(), id, ec);
      if (ec == std::errc::operation_would_block) return;  // its holder uses the folder
      // Not under the lock, but who takes it checks afterwards that the folder exists.
      if (ec && made) ::unlinkat(root_, id.c_str(), AT_REMOVEDIR);
      if (ec) return;
      if (!names_file(root_, id.c_str(), folder.get())) continue;
      add_level(std::move(folder), id, made);
      return;
    }
    ec = errc::io;
  }

  id_folder(const id_folder&) = delete;
  id_folder& operator=(const id_folder&) = delete;

  explicit operator bool() const noexcept { return !levels_.empty(); }
  int root() const noexcept { return root_; }
  int handle() const noexcept { return levels_.front().folder.get(); }

  /// Whether the id's folder was made here, and has no entry yet.
  bool is_new() const noexcept { return levels_.front().made && is_known_empty(handle()); }

  /// The folder of the name that was last given to `make_parents`.
  int leaf_folder() const noexcept { return levels_.back().folder.get(); }

  /// Makes and opens the folders of `name`, and returns its last component. `errc::bad_name` if the
  /// file system can't hold them.
  std::string make_parents(std::string_view name, std::error_code& ec) {
    return enter_parents(name, if_missing::make, ec);
  }

  /// Opens the folders of `name`, and returns its last component. Nothing is made; if one is
  /// missing `is_absent(ec)`, and the folders above it stay open.
  std::string open_parents(std::string_view name, std::error_code& ec) {
    return enter_parents(name, if_missing::leave, ec);
  }

  /// Whether `component`, which exists, has exactly this spelling in the file system.
  bool is_spelled(std::string_view component, std::error_code& ec) const {
    return !store_.traits().folds_names || has_spelling(leaf_folder(), component, ec);
  }

  /// Appends what is to be flushed: the open folders, and the store's root.
  void append_folders(std::vector<int>& folders) const {
    if (!store_.flushes_folders()) return;
    for (auto it = levels_.rbegin(); it != levels_.rend(); ++it)
      folders.push_back(it->folder.get());
    folders.push_back(root_);
  }

  /// Flushes every folder from the leaf's up to the store's root.
  void flush_up(std::error_code& ec) const {
    ec.clear();
    std::vector<int> folders;
    append_folders(folders);
    for (const int folder : folders) {
      flush(folder, ec);
      if (ec) return;
    }
  }

  /// Closes the folders of a name and the id's own, from the leaf's up, and removes those that are
  /// empty. The caller holds the lock, so nobody puts a file there.
  void remove_empty() noexcept {
    while (!levels_.empty()) {
      if (::unlinkat(above_last(), levels_.back().name.c_str(), AT_REMOVEDIR) != 0) return;
      levels_.pop_back();
    }
  }

  /// Removes the folders that were made here, as far as they are empty; the id's own also if
  /// another publication made it that did not get the lock.
  void remove_made() noexcept {
    remove_made_below(1);
    if (*this) levels_.front().made = true;
    remove_made_below(0);
  }

 private:
  struct level {
    descriptor folder;
    std::string name;  ///< In the level above.
    bool made;
  };

  std::string enter_parents(std::string_view name, if_missing missing, std::error_code& ec) {
    ec.clear();
    remove_made_below(1);
    while (name.find('/') != name.npos) {
      auto component = take_component(name);
      const bool made =
          missing == if_missing::make && make_folder(leaf_folder(), component.c_str(), ec);
      auto folder = ec ? descriptor{} : open_folder(leaf_folder(), component.c_str(), ec);
      if (!ec && !is_spelled(component, ec) && !ec) ec = errc::bad_name;
      if (ec && made) ::unlinkat(leaf_folder(), component.c_str(), AT_REMOVEDIR);
      if (ec) {
        if (missing == if_missing::make) ec = name_error(ec);
        return {};
      }
      add_level(std::move(folder), std::move(component), made);
    }
    return std::string{name};
  }

  /// The folder that the last level is in.
  int above_last() const noexcept {
    return levels_.size() > 1 ? levels_[levels_.size() - 2].folder.get() : root_;
  }

  /// Closes all but the first `count` levels, and removes those that were made here.
  void remove_made_below(std::size_t count) noexcept {
    for (; levels_.size() > count; levels_.pop_back()) {
      const auto& last = levels_.back();
      if (last.made) ::unlinkat(above_last(), last.name.c_str(), AT_REMOVEDIR);
    }
  }

  void add_level(descriptor folder, std::string name, bool made) {
    levels_.push_back({std::move(folder), std::move(name), made});
  }

  void lock_id(int folder, const std::string& id, std::error_code& ec) {
    if (store_.traits().locks_folders) {
      try_lock(folder, ec);
      return;
    }
    // One lock file for many ids: lock files are never removed, so there must not be too many.
    const auto name = id.substr(0, 3);
    lock_file_ = open_at(store_.locks(), name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW, ec, 0666);
    if (!ec) try_lock(lock_file_.get(), ec);
  }

  const store_folder& store_;
  const int root_;
  std::vector<level> levels_;  ///< The id's folder, the folders of a name.
  descriptor lock_file_;
};

}  // namespace filexfer::detail

#endif
