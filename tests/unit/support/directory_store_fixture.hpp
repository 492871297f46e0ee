#ifndef FILEXFER_TESTS_SUPPORT_DIRECTORY_STORE_FIXTURE_HPP
#define FILEXFER_TESTS_SUPPORT_DIRECTORY_STORE_FIXTURE_HPP

// A directory_store in a temporary folder, and access to its files behind its back.

#include "support/scratch_folder.hpp"
#include "support/store_helpers.hpp"

#include <filexfer/directory_store.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <sys/stat.h>

namespace directory_store_tests {

namespace fs = std::filesystem;
using namespace test;
using filexfer::errc;
using lines = std::vector<std::string>;
using store_type = filexfer::directory_store<>;

struct fixture {
  scratch_folder folder;
  fs::path root = folder / "store";
  store_type store{root};

  fs::path id_folder(std::string_view bytes) const { return root / id_of(bytes).to_string(); }
  fs::path incoming() const { return root / ".incoming"; }
};

inline struct stat status_of(const fs::path& path) {
  struct stat status {};
  REQUIRE(::lstat(path.c_str(), &status) == 0);
  return status;
}

/// Changes a stored file behind the store's back, as a failing disk would.
inline void damage(const fs::path& file, std::string_view bytes) {
  REQUIRE(::chmod(file.c_str(), 0600) == 0);
  write_file(file, bytes);
  REQUIRE(::chmod(file.c_str(), 0444) == 0);
}

/// The relative paths of the files below a folder, sorted.
inline lines files_below(const fs::path& folder) {
  lines found;
  for (const auto& entry : fs::recursive_directory_iterator{folder}) {
    if (entry.is_regular_file()) found.push_back(fs::relative(entry.path(), folder).string());
  }
  return sorted(found);
}

}  // namespace directory_store_tests

#endif
