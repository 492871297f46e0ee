#ifndef FILEXFER_DETAIL_STORE_NAME_WALK_HPP
#define FILEXFER_DETAIL_STORE_NAME_WALK_HPP

#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/fields.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

/// Most components of a name in a `directory_store`.
inline constexpr std::size_t max_name_depth = 128;

/// Iterates over the files in an id's folder and the folders below it: the names of that id.
///
/// Yields only regular files with names that are valid in the protocol, and skips those that vanish
/// meanwhile. Holds one handle for each level of folders, so it enters no more than
/// `max_name_depth`.
class name_walk {
 public:
  name_walk() noexcept = default;

  /// Takes ownership of `folder`.
  name_walk(descriptor folder, std::error_code& ec) { enter(std::move(folder), {}, ec); }

  /// Advances to the next file; false at the end and on failure.
  bool next(std::error_code& ec) {
    ec.clear();
    while (!levels_.empty()) {
      auto& last = levels_.back();
      const auto entry = last.reader.next(ec);
      if (ec) return false;
      if (entry.name == nullptr) {
        levels_.pop_back();
        continue;
      }
      name_.resize(last.prefix);
      name_ += entry.name;
      if (!is_name(name_) || entry.kind == entry_kind::other) continue;
      if (entry.kind != entry_kind::folder && read_status(entry.name, ec)) return true;
      if (ec) return false;
      if (entry.kind != entry_kind::file && levels_.size() < max_name_depth) {
        enter_entry(entry.name, ec);
      }
      if (ec) return false;
    }
    return false;
  }

  const std::string& name() const noexcept { return name_; }
  const struct stat& status() const noexcept { return status_; }
  std::uint64_t size() const noexcept { return static_cast<std::uint64_t>(status_.st_size); }

  /// The file's folder, and its name there.
  int folder() const noexcept { return levels_.back().reader.handle(); }
  const char* leaf() const noexcept { return name_.c_str() + levels_.back().prefix; }

 private:
  struct level {
    folder_reader reader;
    std::size_t prefix;  ///< Length of the folders in a name at this level, with their `/`.
  };

  /// Reads the entry's status; returns whether it is a regular file.
  bool read_status(const char* name, std::error_code& ec) noexcept {
    status_ = status_at(folder(), name, ec);
    if (is_absent(ec)) ec.clear();
    else if (!ec) return S_ISREG(status_.st_mode);
    return false;
  }

  void enter_entry(const char* name, std::error_code& ec) {
    auto opened = open_folder(folder(), name, ec);
    if (is_absent(ec)) ec.clear();
    else if (!ec) enter(std::move(opened), name_ + '/', ec);
  }

  void enter(descriptor folder, const std::string& prefix, std::error_code& ec) {
    folder_reader reader{std::move(folder), ec};
    if (!ec) levels_.push_back({std::move(reader), prefix.size()});
    if (!ec) name_ = prefix;
  }

  std::vector<level> levels_;
  std::string name_;
  struct stat status_ {};
};

}  // namespace filexfer::detail

#endif
