#ifndef FILEXFER_TESTS_FUZZ_SUPPORT_SCRATCH_HPP
#define FILEXFER_TESTS_FUZZ_SUPPORT_SCRATCH_HPP

// A folder in memory, where the system has one, which is emptied for each input.

#include "support/scratch_folder.hpp"

#include <cstdlib>
#include <filesystem>

namespace fuzz {

inline std::filesystem::path fast_folder() {
  const std::filesystem::path in_memory{"/dev/shm"};
  std::error_code ec;
  return std::filesystem::is_directory(in_memory, ec) ? in_memory
                                                      : std::filesystem::temp_directory_path();
}

/// The folder of this process, removed when it exits.
inline const std::filesystem::path& process_folder() {
  static const test::scratch_folder folder{fast_folder()};
  return folder.path();
}

/// An empty folder below `process_folder()`, deep enough that a few `..` don't lead out of that.
inline std::filesystem::path fresh_folder() {
  const auto top = process_folder() / "1";
  std::filesystem::remove_all(top);
  auto folder = top / "2" / "3" / "4";
  std::filesystem::create_directories(folder);
  return folder;
}

}  // namespace fuzz

#endif
