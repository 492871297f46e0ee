#ifndef FILEXFER_TESTS_FUZZ_SUPPORT_SNAPSHOT_HPP
#define FILEXFER_TESTS_FUZZ_SUPPORT_SNAPSHOT_HPP

// A folder as a map, to see what has changed in it. Its own walk, which follows no symbolic link.

#include "fuzz/support/fuzzing.hpp"
#include "fuzz/support/grammar.hpp"
#include "fuzz/support/scratch.hpp"
#include "support/scratch_folder.hpp"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <system_error>

#include <sys/stat.h>

namespace fuzz {

/// By path relative to the folder: `folder`, `link TARGET`, `file BYTES` or `other`.
using snapshot = std::map<std::string, std::string>;

inline void add_to(snapshot& all, const std::filesystem::path& folder, const std::string& prefix) {
  for (const auto& entry : std::filesystem::directory_iterator{folder}) {
    const std::string name = prefix + entry.path().filename().string();
    if (entry.is_symlink()) {
      all[name] = "link " + std::filesystem::read_symlink(entry.path()).string();
    } else if (entry.is_directory()) {
      all[name] = "folder";
      add_to(all, entry.path(), name + '/');
    } else if (entry.is_regular_file()) {
      all[name] = "file " + test::contents(entry.path());
    } else {
      all[name] = "other";
    }
  }
}

inline snapshot snapshot_of(const std::filesystem::path& folder) {
  snapshot all;
  add_to(all, folder, {});
  return all;
}

inline std::string text_of(const snapshot& all) {
  std::string text;
  for (const auto& [name, what] : all) text.append(name).append(": ").append(what) += '\n';
  return text;
}

inline void require_same(const snapshot& expected, const snapshot& found, std::string_view claim) {
  require(expected == found, claim,
          "expected:\n" + text_of(expected) + "found:\n" + text_of(found));
}

/// A folder of an input, and beside it what nothing may change.
///
/// A line of an input has a letter, a name and perhaps, after a blank, a text. `%XX` in the name is
/// a byte. These letters make something that nobody expects, for which nothing is checked:
///
///     d NAME         folders
///     f NAME TEXT    a file
///     p NAME         a FIFO
///     l NAME TARGET  a symbolic link: `+` is the folder beside, `+TEXT` what is in there
///     h NAME TARGET  another name of a file
class planted_folders {
 public:
  planted_folders() : base_{fresh_folder()}, inside_{base_ / "inside"}, beside_{base_ / "beside"} {
    std::filesystem::create_directory(inside_);
    std::filesystem::create_directory(beside_);
    std::ofstream{beside_ / "secret"} << "secret";
  }

  const std::filesystem::path& inside() const { return inside_; }

  snapshot all() const { return snapshot_of(base_); }

  /// Fails silently, as where there is something else already.
  void plant(char kind, const std::string& name, const std::string& text) const {
    const bool leads_out = (name + text).find("..") != name.npos || text.starts_with('/');
    if (name.empty() || name.find('\0') != name.npos || leads_out) return;
    const std::string path = inside_.string() + '/' + name;
    const auto target =
        text.starts_with('+') ? beside_ / text.substr(1) : std::filesystem::path{text};
    std::error_code ignored;
    switch (kind) {
      case 'd': std::filesystem::create_directories(path, ignored); break;
      case 'f': write_new(path, text); break;
      case 'p': ::mkfifo(path.c_str(), 0600); break;
      case 'l': std::filesystem::create_symlink(target, path, ignored); break;
      case 'h': std::filesystem::create_hard_link(inside_ / text, path, ignored); break;
      default: break;
    }
  }

 private:
  static void write_new(const std::string& path, const std::string& text) {
    std::error_code ignored;
    if (std::filesystem::exists(std::filesystem::symlink_status(path, ignored))) return;
    std::ofstream{path, std::ios::binary} << text;
  }

  std::filesystem::path base_;
  std::filesystem::path inside_;
  std::filesystem::path beside_;
};

/// A line of an input; see `planted_folders`.
struct folder_operation {
  explicit folder_operation(std::string_view line) {
    kind = line.empty() ? ' ' : line.front();
    line.remove_prefix(std::min<std::size_t>(line.size(), 2));
    const auto blank = std::min(line.find(' '), line.size());
    name = grammar::unescape(std::string{line.substr(0, blank)}).value_or("%");
    text = line.substr(std::min(blank + 1, line.size()));
  }

  char kind;
  std::string name;
  std::string text;
};

}  // namespace fuzz

#endif
