#ifndef FILEXFER_DETAIL_STORE_QUARANTINE_HPP
#define FILEXFER_DETAIL_STORE_QUARANTINE_HPP

#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/detail/posix/random_name.hpp>
#include <filexfer/detail/store/id_folder.hpp>
#include <filexfer/detail/store/name_walk.hpp>
#include <filexfer/detail/store/store_folder.hpp>
#include <filexfer/error.hpp>

#include <cstddef>
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

/// Calls `visit(parent, name, folder)` with each folder below `folder`, as deep as names go, after
/// those that are in it.
template <class Visit>
void visit_folders(int folder, const Visit& visit, std::size_t depth = max_name_depth) {
  std::error_code ec;
  folder_reader reader{reopen_folder(folder, ec), ec};
  while (reader && depth > 0) {
    const auto entry = reader.next(ec);
    if (entry.name == nullptr) return;
    if (entry.kind != entry_kind::folder && entry.kind != entry_kind::unknown) continue;
    const auto below = open_folder(folder, entry.name, ec);
    if (!below) continue;
    visit_folders(below.get(), visit, depth - 1);
    visit(folder, entry.name, below.get());
  }
}

/// Removes the empty folders below `folder`.
inline void remove_empty_folders(int folder) {
  visit_folders(folder,
                [](int parent, const char* name, int) { ::unlinkat(parent, name, AT_REMOVEDIR); });
}

/// Flushes `folder` and those below it; `errc::io` if that fails.
inline void flush_tree(int folder, std::error_code& ec) {
  const auto flush_one = [&ec](int one) {
    std::error_code failed;
    flush(one, failed);
    if (failed) ec = errc::io;
  };
  visit_folders(folder, [&](int, const char*, int below) { flush_one(below); });
  flush_one(folder);
}

/// Moves a damaged file, with every name that it has under its id, into a new folder in `.damaged`,
/// durably, and logs it. If `ec` is set, the file may have been moved for some of its names, or for
/// none, or may be back after a crash. Does nothing if the file has no name any more.
inline void quarantine(const store_folder& store, const id_folder& folder, const std::string& id,
                       const struct stat& damaged, std::error_code& ec) {
  const auto unique = id + '.' + random_name();
  const auto parent = make_and_open_folder(folder.root(), ".damaged", ec);
  const auto target = ec ? descriptor{} : make_and_open_folder(parent.get(), unique.c_str(), ec);
  std::size_t moved = 0;
  if (!ec) {
    name_walk walk{reopen_folder(folder.handle(), ec), ec};
    while (!ec && walk.next(ec)) {
      if (!same_file(walk.status(), damaged)) continue;
      quarantine_name(walk, target.get(), ec);
      if (!ec) ++moved;
    }
  }
  if (target) {
    remove_empty_folders(folder.handle());
    if (ec) remove_empty_folders(target.get());
    if (ec || moved == 0) ::unlinkat(parent.get(), unique.c_str(), AT_REMOVEDIR);  // if empty
  }
  if (!ec && moved == 0) return;
  store.log(id + ": the stored file does not hash to its id any more. It " +
            (ec ? "could not be moved to .damaged: " + ec.message()
                : "was moved to .damaged/" + unique + '.'));
  if (ec || !store.flushes_folders()) return;
  // First where the names are now, so that a crash can't lose them.
  flush_tree(target.get(), ec);
  for (const int changed : {parent.get(), folder.root()}) {
    std::error_code failed;
    flush(changed, failed);
    if (failed) ec = errc::io;
  }
  flush_tree(folder.handle(), ec);
}

}  // namespace filexfer::detail

#endif
