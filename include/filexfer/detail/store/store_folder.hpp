#ifndef FILEXFER_DETAIL_STORE_STORE_FOLDER_HPP
#define FILEXFER_DETAIL_STORE_STORE_FOLDER_HPP

#include <filexfer/detail/posix/file_system.hpp>
#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/detail/posix/temporary.hpp>

#include <filesystem>
#include <functional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/stat.h>

namespace filexfer::detail {

/// Makes the folder `path` and those above it that are missing, and flushes the folders that they
/// stand in.
inline void make_folders(const std::filesystem::path& path, std::error_code& ec) {
  ec.clear();
  std::vector<std::filesystem::path> changed{std::filesystem::absolute(path / "..", ec)};
  std::filesystem::path prefix;
  for (const auto& component : path) {
    const auto above = prefix.empty() ? std::filesystem::path{"."} : prefix;
    prefix /= component;
    if (::mkdir(prefix.c_str(), 0777) == 0) {
      changed.push_back(above);
      continue;
    }
    const std::error_code unmade = last_error();
    std::error_code unseen;
    if (unmade != std::errc::file_exists && !std::filesystem::is_directory(prefix, unseen)) {
      ec = unmade;
      return;
    }
  }
  for (auto folder = changed.rbegin(); folder != changed.rend(); ++folder) {
    std::error_code unreadable;  // Then there is no way to flush it.
    const auto handle = open_at(AT_FDCWD, folder->c_str(), O_RDONLY | O_DIRECTORY, unreadable);
    if (handle) flush(handle.get(), ec);
    if (ec == std::errc::invalid_argument) ec.clear();
    if (ec) return;
  }
}

/// A store's directory: handles on it, and what its file system can do.
///
///     <root>/<id>/<name>     the files
///     <root>/.incoming/      what is arriving
///     <root>/.damaged/       stored files that no longer hash to their id
///     <root>/.locks/         only where folders can't be locked
class store_folder {
 public:
  using logger = std::function<void(std::string_view)>;

  /// Makes what is missing, tries the file system, removes what killed writers left.
  store_folder(const std::filesystem::path& path, logger log, std::error_code& ec)
      : log_{std::move(log)} {
    make_folders(path, ec);
    if (!ec) root_ = open_at(AT_FDCWD, path.c_str(), O_RDONLY | O_DIRECTORY, ec);
    if (!ec) incoming_ = make_and_open_folder(root_.get(), ".incoming", ec);
    if (!ec) traits_ = try_file_system(incoming_.get(), ec);
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

  /// For tests of file systems that are not at hand.
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
    if (!traits_.flushes_folders) {
      log("This file system can't flush folders: a power cut may take files that were "
          "acknowledged.");
    }
  }

  logger log_;
  descriptor root_;
  descriptor incoming_;
  descriptor locks_;
  file_system_traits traits_;
};

}  // namespace filexfer::detail

#endif
