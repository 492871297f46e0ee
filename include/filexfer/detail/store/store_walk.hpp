#ifndef FILEXFER_DETAIL_STORE_STORE_WALK_HPP
#define FILEXFER_DETAIL_STORE_STORE_WALK_HPP

#include <filexfer/detail/posix/folder.hpp>
#include <filexfer/detail/store/name_walk.hpp>
#include <filexfer/detail/store/quota.hpp>

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

/// The part of a file's bytes that one of its names counts, so that no set of files is needed to
/// count each file once.
inline double share_of_name(const name_walk& file) noexcept {
  const auto names = std::max<std::uint64_t>(1, file.status().st_nlink);
  return static_cast<double>(file.size()) / static_cast<double>(names);
}

/// A store's names, and the bytes of its files, each counted once, however many names it has.
template <class Digest>
stored_amount count_stored(int root, std::error_code& ec) {
  store_walk<Digest> walk{root, ec};
  double bytes = 0;
  std::uint64_t names = 0;
  for (; !ec && walk.next(ec); ++names) bytes += share_of_name(walk.file());
  return {static_cast<std::uint64_t>(std::llround(bytes)), names};
}

/// Bytes of the damaged files that were set aside in `.damaged`.
inline std::uint64_t count_quarantined(int root, std::error_code& ec) {
  auto folder = open_folder(root, ".damaged", ec);
  if (is_absent(ec)) {
    ec.clear();
    return 0;
  }
  if (ec) return 0;
  double bytes = 0;
  name_walk walk{std::move(folder), ec};  // A name there has the name of its folder before it.
  while (!ec && walk.next(ec)) bytes += share_of_name(walk);
  return static_cast<std::uint64_t>(std::llround(bytes));
}

}  // namespace filexfer::detail

#endif
