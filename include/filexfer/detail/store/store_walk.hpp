#ifndef FILEXFER_DETAIL_STORE_STORE_WALK_HPP
#define FILEXFER_DETAIL_STORE_STORE_WALK_HPP

#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/detail/store/name_walk.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// Iterates over a store's files: those in folders whose name is an id as this library writes it.
template <class Digest>
class store_walk {
 public:
  store_walk(int root, std::error_code& ec) : root_{reopen_folder(root, ec), ec} {}

  /// Advances to the next file; false at the end and on failure.
  bool next(std::error_code& ec) {
    ec.clear();
    while (root_) {
      if (names_.next(ec)) return true;
      if (ec) return false;
      const auto entry = root_.next(ec);
      if (entry.name == nullptr) return false;
      const auto id = Digest::from_hex(entry.name);
      if (!id || id->to_string() != entry.name) continue;
      if (entry.kind != entry_kind::folder && entry.kind != entry_kind::unknown) continue;
      auto folder = open_folder(root_.handle(), entry.name, ec);
      if (is_absent(ec)) continue;
      if (ec) return false;
      id_ = *id;
      names_ = name_walk{std::move(folder), ec};
      if (ec) return false;
    }
    return false;
  }

  const Digest& id() const noexcept { return id_; }
  const name_walk& file() const noexcept { return names_; }

 private:
  folder_reader root_;
  name_walk names_;
  Digest id_{};
};

/// Bytes of a store's files, each counted once, however many names it has.
template <class Digest>
std::uint64_t count_bytes(int root, std::error_code& ec) {
  store_walk<Digest> walk{root, ec};
  double bytes = 0;  // Each name counts its share of the file, so no set of files is needed.
  while (!ec && walk.next(ec)) {
    const auto names = std::max<std::uint64_t>(1, walk.file().status().st_nlink);
    bytes += static_cast<double>(walk.file().size()) / static_cast<double>(names);
  }
  return static_cast<std::uint64_t>(std::llround(bytes));
}

}  // namespace filexfer::detail

#endif
