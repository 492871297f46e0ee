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

/// The folder of one id, locked against other publications under that id, and the open folders from
/// the store's root down to that of a name.
///
/// Each publication opens its own handles, so that flushing them reports every failure since.
class id_folder {
 public:
  /// Waits for the lock. Converts to false, without an error, if the id has no folder and none is
  /// to be made.
  id_folder(const store_folder& store, const std::string& id, if_missing missing,
            std::error_code& ec)
      : store_{store} {
    constexpr int attempts = 1000;  // Each fails only if a peer removes the folder meanwhile.
    for (int i = 0; i < attempts; ++i) {
      levels_.clear();
      add_level(reopen_folder(store.root(), ec), {}, false);
      if (ec) return;
      const bool made = missing == if_missing::make && make_folder(root(), id.c_str(), ec);
      if (ec) return;
      auto folder = open_folder(root(), id.c_str(), ec);
      if (is_absent(ec) && missing == if_missing::leave) {
        ec.clear();
        return;
      }
      if (ec == std::errc::no_such_file_or_directory) continue;
      if (!ec) lock_id(folder.get(), id, ec);
      // Not under the lock, but a peer that waits for it checks afterwards that the folder exists.
      if (ec && made) ::unlinkat(root(), id.c_str(), AT_REMOVEDIR);
      if (ec) return;
      if (!names_file(root(), id.c_str(), folder.get())) continue;
      add_level(std::move(folder), id, made);
      return;
    }
    ec = errc::io;
  }

  id_folder(const id_folder&) = delete;
  id_folder& operator=(const id_folder&) = delete;

  explicit operator bool() const noexcept { return levels_.size() > 1; }
  int root() const noexcept { return levels_.front().folder.get(); }
  int handle() const noexcept { return levels_[1].folder.get(); }

  /// The folder of the name that was last given to `make_parents`.
  int leaf_folder() const noexcept { return levels_.back().folder.get(); }

  /// Makes and opens the folders of `name`, and returns its last component. `errc::bad_name` if the
  /// file system can't hold them.
  std::string make_parents(std::string_view name, std::error_code& ec) {
    ec.clear();
    remove_made_below(2);
    while (name.find('/') != name.npos) {
      auto component = take_component(name);
      const bool made = make_folder(leaf_folder(), component.c_str(), ec);
      if (!ec && !is_spelled(component, ec) && !ec) ec = errc::bad_name;
      auto folder = ec ? descriptor{} : open_folder(leaf_folder(), component.c_str(), ec);
      if (ec && made) ::unlinkat(leaf_folder(), component.c_str(), AT_REMOVEDIR);
      if (ec) {
        ec = name_error(ec);
        return {};
      }
      add_level(std::move(folder), std::move(component), made);
    }
    return std::string{name};
  }

  /// Whether `component`, which exists, has exactly this spelling in the file system.
  bool is_spelled(std::string_view component, std::error_code& ec) const {
    return !store_.traits().folds_names || has_spelling(leaf_folder(), component, ec);
  }

  /// Flushes every folder from the leaf's up to the store's root.
  void flush_up(std::error_code& ec) const {
    ec.clear();
    if (!store_.traits().flushes_folders) return;
    for (auto it = levels_.rbegin(); it != levels_.rend() && !ec; ++it) {
      flush(it->folder.get(), ec);
    }
  }

  /// Removes the folders that were made here, as far as they are empty.
  void remove_made() noexcept { remove_made_below(1); }

 private:
  struct level {
    descriptor folder;
    std::string name;  ///< In the level above.
    bool made;
  };

  /// Closes all but the first `count` levels, and removes those that were made here.
  void remove_made_below(std::size_t count) noexcept {
    for (; levels_.size() > count; levels_.pop_back()) {
      const auto& last = levels_.back();
      const int above = levels_[levels_.size() - 2].folder.get();
      if (last.made) ::unlinkat(above, last.name.c_str(), AT_REMOVEDIR);
    }
  }

  void add_level(descriptor folder, std::string name, bool made) {
    levels_.push_back({std::move(folder), std::move(name), made});
  }

  void lock_id(int folder, const std::string& id, std::error_code& ec) {
    if (store_.traits().locks_folders) {
      lock(folder, ec);
      return;
    }
    // One lock file for many ids: lock files are never removed, so there must not be too many.
    const auto name = id.substr(0, 3);
    lock_file_ = open_at(store_.locks(), name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW, ec, 0666);
    if (!ec) lock(lock_file_.get(), ec);
  }

  const store_folder& store_;
  std::vector<level> levels_;  ///< The store's root, the id's folder, the folders of a name.
  descriptor lock_file_;
};

}  // namespace filexfer::detail

#endif
