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

/// Moves `name` from where the walk has come to into `aside`, with the folders that it stands in.
inline void quarantine_name(const name_walk& found, int aside, std::error_code& ec) {
  descriptor folder = reopen_folder(aside, ec);
  std::string_view rest = found.name();
  while (!ec && rest.find('/') != rest.npos) {
    folder = make_and_open_folder(folder.get(), take_component(rest).c_str(), ec);
  }
  if (ec) return;
  const auto leaf = std::string{rest};
  if (::renameat(found.folder(), found.leaf(), folder.get(), leaf.c_str()) != 0) ec = last_error();
}

/// Removes the folders below `folder` that have nothing in them, as far down as names go.
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

/// Takes a damaged file away from its id, under every name that it has there, into a folder of its
/// own under `.damaged`. Returns the path of that folder from the store's root.
inline std::string quarantine(const id_folder& place, const std::string& id,
                              const struct stat& damaged, std::error_code& ec) {
  const auto unique = id + '.' + random_name();
  const auto all = make_and_open_folder(place.root(), ".damaged", ec);
  const auto aside = ec ? descriptor{} : make_and_open_folder(all.get(), unique.c_str(), ec);
  if (ec) return {};
  name_walk walk{reopen_folder(place.handle(), ec), ec};
  while (!ec && walk.next(ec)) {
    if (same_file(walk.status(), damaged)) quarantine_name(walk, aside.get(), ec);
  }
  remove_empty_folders(place.handle());
  return ".damaged/" + unique;
}

}  // namespace filexfer::detail

#endif
