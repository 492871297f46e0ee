#ifndef FILEXFER_DETAIL_STORE_REMOVAL_HPP
#define FILEXFER_DETAIL_STORE_REMOVAL_HPP

#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/detail/store/id_folder.hpp>
#include <filexfer/detail/store/quota.hpp>
#include <filexfer/detail/store/store_folder.hpp>
#include <filexfer/error.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace filexfer::detail {

/// The result of a removal.
struct removed_name {
  bool found = false;      ///< The file had the name.
  stored_amount released;  ///< What is no longer stored: the bytes, too, if it was the last name.
};

/// Takes `name`, which is valid, off the file `id`, under the id's lock, and removes the folders
/// that are empty then.
///
/// Without an error the result is on the disk, if the store flushes, also if the name was not
/// found: it may have been removed by another process that was killed before it flushed the
/// folders.
inline removed_name remove_name(const store_folder& store, const std::string& id,
                                std::string_view name, std::error_code& ec) {
  removed_name result;
  const auto root = reopen_folder(store.root(), ec);
  if (ec) return result;
  id_folder folder{store, root.get(), id, if_missing::leave, ec};
  if (ec) return result;
  if (folder) {
    const std::string leaf = folder.open_parents(name, ec);
    struct stat status {};
    if (!ec) status = status_at(folder.leaf_folder(), leaf.c_str(), ec);
    const bool found = !ec && S_ISREG(status.st_mode) && folder.is_spelled(leaf, ec);
    if (found && !ec) {
      if (::unlinkat(folder.leaf_folder(), leaf.c_str(), 0) != 0) ec = last_error();
      else result = {true, {0, 1}};
    }
    if (is_absent(ec) || ec == errc::bad_name) ec.clear();
    if (ec) return result;
    if (result.found && status.st_nlink == 1) {
      result.released.bytes = static_cast<std::uint64_t>(status.st_size);
    }
    folder.remove_empty();
  }
  folder.flush_up(ec);
  if (ec) ec = errc::io;
  return result;
}

}  // namespace filexfer::detail

#endif
