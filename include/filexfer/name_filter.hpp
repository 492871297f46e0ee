#ifndef FILEXFER_NAME_FILTER_HPP
#define FILEXFER_NAME_FILTER_HPP

/// \file
/// Rules that choose files by their names.

#include <filexfer/glob.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace filexfer {

/// Patterns of names to include and to exclude. The first one that matches decides, as with rsync;
/// if none matches, the name is included.
///
/// Patterns are those of `glob_match`. One with a `/` at its beginning or within it, or with a
/// `**`, is matched with the whole name; any other with the name's last component, so that `*.tmp`
/// matches in all folders. One with a `/` at its end matches folders only. What is below an
/// excluded folder is excluded, whatever other patterns say.
///
/// \snippet names.cpp name_filter
class name_filter {
 public:
  /// What a name is of.
  enum class entry {
    file,   ///< Anything but a folder.
    folder  ///< A folder.
  };

  /// Appends a pattern of names to include.
  /// \param pattern  The pattern.
  /// \return This filter.
  name_filter& include(std::string_view pattern) { return add(pattern, true); }
  /// Appends a pattern of names to exclude.
  /// \param pattern  The pattern.
  /// \return This filter.
  name_filter& exclude(std::string_view pattern) { return add(pattern, false); }

  /// Decides on one entry, regardless of the folders above it: for a walk, which does not enter
  /// excluded folders.
  ///
  /// \param name  Its name, with `/` between its components.
  /// \param kind  What it is.
  /// \return Whether it is included.
  bool includes_entry(std::string_view name, entry kind) const {
    const auto first = std::find_if(rules_.begin(), rules_.end(),
                                    [&](const rule& r) { return r.matches(name, kind); });
    return first == rules_.end() || first->includes;
  }

  /// Decides on a file, by its name and by the folders in it: for the names of a list.
  ///
  /// \param name  Its name, with `/` between its components.
  /// \return Whether it is included.
  bool includes(std::string_view name) const {
    for (std::size_t end = name.find('/'); end != name.npos; end = name.find('/', end + 1)) {
      if (!includes_entry(name.substr(0, end), entry::folder)) return false;
    }
    return includes_entry(name, entry::file);
  }

 private:
  struct rule {
    std::string pattern;
    bool includes;
    bool only_folders;
    bool whole_name;

    bool matches(std::string_view name, entry kind) const {
      if (only_folders && kind != entry::folder) return false;
      if (!whole_name) name.remove_prefix(name.rfind('/') + 1);  // npos + 1 is 0
      return glob_match(pattern, name);
    }
  };

  name_filter& add(std::string_view pattern, bool includes) {
    const bool only_folders = pattern.ends_with('/');
    if (only_folders) pattern.remove_suffix(1);
    const bool whole_name = pattern.find('/') != pattern.npos || pattern.find("**") != pattern.npos;
    if (pattern.starts_with('/')) pattern.remove_prefix(1);
    rules_.push_back({std::string{pattern}, includes, only_folders, whole_name});
    return *this;
  }

  std::vector<rule> rules_;
};

}  // namespace filexfer

#endif
