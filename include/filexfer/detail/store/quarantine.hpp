#ifndef FILEXFER_DETAIL_STORE_QUARANTINE_HPP
#define FILEXFER_DETAIL_STORE_QUARANTINE_HPP

#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/detail/posix/random_name.hpp>
#include <filexfer/detail/store/id_folder.hpp>
#include <filexfer/detail/store/name_walk.hpp>

#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// Moves the walk's current file into the folder `target`, where it keeps its name.
inline void quarantine_name(const name_walk& walk, int target, std::error_code& ec) {
  descriptor folder = reopen_folder(target, ec);
  std::string_view rest = walk.name();
  while (!ec && rest.find('/') != rest.npos) {
    folder = make_and_open_folder(folder.get(), take_component(rest).c_str(), ec);
  }
  if (ec) return;
  const auto leaf = std::string{rest};
  if (::renameat(walk.folder(), walk.leaf(), folder.get(), leaf.c_str()) != 0) ec = last_error();
}

/// Removes the empty folders below `folder`, as deep as names go.
inline void remove_empty_folders(int folder, int depth = 128) {
  std::error_code ec;
  folder_reader reader{reopen_folder(folder, ec), ec};
  while (reader && depth > 0) {
    const auto entry = reader.next(ec);
    if (entry.name == nullptr) return;
    if (entry.kind != entry_kind::folder && entry.kind != entry_kind::unknown) continue;
    const auto below = open_folder(folder, entry.name, ec);
    if (!below) continue;
    remove_empty_folders(below.get(), depth - 1);
    ::unlinkat(folder, entry.name, AT_REMOVEDIR);
  }
}

/// Moves a damaged file, with every name that it has under its id, into a new folder in `.damaged`.
/// Returns the path of that folder from the store's root.
inline std::string quarantine(const id_folder& folder, const std::string& id,
                              const struct stat& damaged, std::error_code& ec) {
  const auto unique = id + '.' + random_name();
  const auto parent = make_and_open_folder(folder.root(), ".damaged", ec);
  const auto target = ec ? descriptor{} : make_and_open_folder(parent.get(), unique.c_str(), ec);
  if (ec) return {};
  name_walk walk{reopen_folder(folder.handle(), ec), ec};
  while (!ec && walk.next(ec)) {
    if (same_file(walk.status(), damaged)) quarantine_name(walk, target.get(), ec);
  }
  remove_empty_folders(folder.handle());
  return ".damaged/" + unique;
}

}  // namespace filexfer::detail

#endif
