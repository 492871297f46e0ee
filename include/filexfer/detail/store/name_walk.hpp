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

/// Walks over the files in an id's folder and the folders in it: the names of that id.
///
/// Only regular files count, and only names as the protocol has them; everything else is passed
/// over, and so is what vanishes meanwhile. One handle is held for each level of folders; a name's
/// 255 bytes bound them to 128.
class name_walk {
 public:
  name_walk() noexcept = default;

  /// Takes `folder`.
  name_walk(descriptor folder, std::error_code& ec) { enter(std::move(folder), {}, ec); }

  /// Goes to the next file; false at the end and on failure.
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
      if (entry.kind != entry_kind::folder && look(entry.name, ec)) return true;
      if (ec) return false;
      if (entry.kind != entry_kind::file) enter_entry(entry.name, ec);
      if (ec) return false;
    }
    return false;
  }

  const std::string& name() const noexcept { return name_; }
  const struct stat& status() const noexcept { return status_; }
  std::uint64_t size() const noexcept { return static_cast<std::uint64_t>(status_.st_size); }

  /// The folder that the file stands in, and its name there.
  int folder() const noexcept { return levels_.back().reader.handle(); }
  const char* leaf() const noexcept { return name_.c_str() + levels_.back().prefix; }

 private:
  struct level {
    folder_reader reader;
    std::size_t prefix;  ///< Bytes of a name here that are the folders above, with their `/`.
  };

  /// Whether the entry is a regular file.
  bool look(const char* name, std::error_code& ec) noexcept {
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
