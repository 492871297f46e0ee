#ifndef PROGRAMS_TEMPORARY_FOLDER_HPP
#define PROGRAMS_TEMPORARY_FOLDER_HPP

/// \file
/// A temporary folder.

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>

#include <stdlib.h>

namespace programs {

/// Creates a folder below the system's temporary directory, and removes it with its content on
/// destruction.
class temporary_folder {
 public:
  temporary_folder() : path_{(parent() / "filexfer-XXXXXX").string()} {
    if (::mkdtemp(path_.data()) == nullptr) {
      throw std::system_error{errno, std::system_category(), path_};
    }
  }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  ~temporary_folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  std::filesystem::path path() const { return path_; }

 private:
  static std::filesystem::path parent() {
    std::error_code ec;
    auto folder = std::filesystem::temp_directory_path(ec);
    if (ec) throw std::system_error{ec, "no folder for temporary files, which TMPDIR names"};
    return folder;
  }

  std::string path_;
};

}  // namespace programs

#endif
