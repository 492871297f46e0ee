#ifndef PROGRAMS_FOLDER_WALK_HPP
#define PROGRAMS_FOLDER_WALK_HPP

/// \file
/// The files below a folder.

#include "common/failure.hpp"

#include <filexfer/file.hpp>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <dirent.h>
#include <sys/stat.h>

namespace programs {

/// What a walk does with a symbolic link that it meets.
enum class symlinks { skipped, followed };

/// Walks over the regular files below a folder, by the octets of their names, folders in place.
///
/// What is skipped or can't be had is told, and the walk goes on. Folders are held open while what
/// is in them is visited, so nobody can lead the walk elsewhere by moving them; names have at most
/// 255 octets, so at most 128 are held.
class folder_walk {
 public:
  /// Takes a path, and what became of it: a failure, or `done` for what is only skipped.
  using listener = std::function<void(const std::string&, const failure&)>;

  /// `folder` itself may be a symbolic link.
  folder_walk(std::filesystem::path folder, symlinks links, listener tell);

  /// Goes to the next file, and opens it; false at the end.
  bool next();

  /// The file's name, relative to the folder: `filexfer::is_name`.
  const std::string& name() const noexcept { return name_; }

  std::filesystem::path path() const { return name_.empty() ? folder_ : folder_ / name_; }

  filexfer::file_source& file() noexcept { return *file_; }

 private:
  struct closer {
    void operator()(DIR* folder) const noexcept { ::closedir(folder); }
  };
  using open_folder = std::unique_ptr<DIR, closer>;

  struct level {
    open_folder folder;
    struct stat status;
    std::vector<std::string> left;  ///< Its entries yet to visit, the last one first.
    std::size_t prefix;  ///< Octets of a name here that are the folders above, with their `/`.
  };

  bool visit(const char* leaf);
  bool open_file(int descriptor);
  void enter(int descriptor);
  bool is_within(const struct stat& folder) const;

  void skip(const char* why) const;
  bool fail(std::error_code ec);
  bool fail(const char* why);

  std::filesystem::path folder_;
  symlinks links_;
  listener tell_;
  std::vector<level> levels_;
  std::string name_;
  std::optional<filexfer::file_source> file_;
};

}  // namespace programs

#endif
