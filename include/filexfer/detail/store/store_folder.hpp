#ifndef FILEXFER_DETAIL_STORE_STORE_FOLDER_HPP
#define FILEXFER_DETAIL_STORE_STORE_FOLDER_HPP

#include <filexfer/detail/posix/file_system.hpp>
#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/detail/posix/temporary.hpp>
#include <filexfer/detail/store/name_walk.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/options.hpp>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/stat.h>

namespace filexfer::detail {

/// Makes the folder `path` and its missing parents, and flushes the folders that they are in.
inline void make_folders(const std::filesystem::path& path, flush_mode flushing,
                         std::error_code& ec) {
  ec.clear();
  std::vector<std::filesystem::path> changed{std::filesystem::absolute(path / "..", ec)};
  std::filesystem::path prefix;
  for (const auto& component : path) {
    const auto parent = prefix.empty() ? std::filesystem::path{"."} : prefix;
    prefix /= component;
    if (::mkdir(prefix.c_str(), 0777) == 0) {
      changed.push_back(parent);
      continue;
    }
    const std::error_code mkdir_error = last_error();
    std::error_code ignored;
    if (mkdir_error != std::errc::file_exists && !std::filesystem::is_directory(prefix, ignored)) {
      ec = mkdir_error;
      return;
    }
  }
  if (flushing == flush_mode::off) return;
  for (auto folder = changed.rbegin(); folder != changed.rend(); ++folder) {
    std::error_code ignored;  // A folder that can't be opened can't be flushed.
    const auto handle = open_at(AT_FDCWD, folder->c_str(), O_RDONLY | O_DIRECTORY, ignored);
    if (handle) flush(handle.get(), ec);
    if (ec == std::errc::invalid_argument) ec.clear();
    if (ec) return;
  }
}

/// A store's directory: handles on it, and what its file system supports.
///
///     <root>/<id>/<name>     the files
///     <root>/.incoming/      arriving files
///     <root>/.partial/       interrupted uploads
///     <root>/.damaged/       stored files that no longer hash to their id
///     <root>/.locks/         only if folders can't be locked
class store_folder {
 public:
  using logger = std::function<void(std::string_view)>;

  /// Makes missing folders, tries the file system, removes temporary files of killed writers.
  store_folder(const std::filesystem::path& path, flush_mode flushing, logger log,
               std::error_code& ec)
      : log_{std::move(log)}, flushing_{flushing} {
    make_folders(path, flushing, ec);
    if (!ec) root_ = open_at(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY, ec);
    if (!ec) incoming_ = make_and_open_folder(root_.get(), ".incoming", ec);
    if (!ec) traits_ = try_file_system(incoming_.get(), flushing, ec);
    if (!ec && !traits_.locks_folders) locks_ = make_and_open_folder(root_.get(), ".locks", ec);
    if (ec) return;
    log_limits();
    if (traits_.can_publish()) remove_abandoned(incoming_.get(), ec);
    else ec = system_code(ENOTSUP);
  }

  int root() const noexcept { return root_.get(); }
  int incoming() const noexcept { return incoming_.get(); }
  int locks() const noexcept { return locks_.get(); }
  const file_system_traits& traits() const noexcept { return traits_; }

  /// Flushes a file, or does nothing if this store is not to.
  void flush(int file, std::error_code& ec) const noexcept {
    ec.clear();
    if (flushes_files()) detail::flush(file, ec);
  }

  bool flushes_files() const noexcept { return flushing_ == flush_mode::on; }

  /// Whether folders are to be flushed, and can be.
  bool flushes_folders() const noexcept { return flushes_files() && traits_.flushes_folders; }

  /// Whether a file of that name can be stored here.
  bool can_hold(std::string_view name) const {
    if (!is_name(name)) return false;
    std::size_t depth = 0;
    while (!name.empty()) {
      if (take_component(name).size() > traits_.max_component_length) return false;
      if (++depth > max_name_depth) return false;
    }
    return true;
  }

  /// Creates a file for an upload, or for a copy.
  temporary make_temporary(std::error_code& ec) const {
    return traits_.nameless_files ? temporary::nameless(incoming(), ec) : temporary{incoming(), ec};
  }

  /// For tests: replaces the file system's traits.
  void pretend(const file_system_traits& traits, std::error_code& ec) {
    traits_ = traits;
    ec.clear();
    if (!traits_.locks_folders) locks_ = make_and_open_folder(root_.get(), ".locks", ec);
  }

  void log(std::string_view text) const {
    if (log_) log_(text);
  }

 private:
  void log_limits() const {
    if (!traits_.can_publish()) {
      log("This file system can't show a file without replacing one: it can't hold a store.");
    }
    if (!traits_.links) {
      log("This file system has no hard links: a file takes its space once for each of its names.");
    }
    if (traits_.folds_names) {
      log("This file system changes names, or takes different ones for the same: "
          "names that it would change are refused.");
    }
    if (!traits_.locks_folders) {
      log("This file system can't lock folders: files in .locks are locked instead.");
    }
    if (flushing_ == flush_mode::off) {
      log("Nothing is flushed to the disk: a power cut may take files that were acknowledged, or "
          "parts of them.");
    } else if (!traits_.flushes_folders) {
      log("This file system can't flush folders: a power cut may take files that were "
          "acknowledged.");
    }
  }

  logger log_;
  flush_mode flushing_;
  descriptor root_;
  descriptor incoming_;
  descriptor locks_;
  file_system_traits traits_;
};

}  // namespace filexfer::detail

#endif
