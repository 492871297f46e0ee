#ifndef FILEXFER_DETAIL_STORE_SPACE_HPP
#define FILEXFER_DETAIL_STORE_SPACE_HPP

#include <filexfer/detail/store/disk_space.hpp>
#include <filexfer/detail/store/partials.hpp>
#include <filexfer/detail/store/quota.hpp>
#include <filexfer/detail/store/store_walk.hpp>
#include <filexfer/error.hpp>
#include <filexfer/options.hpp>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <system_error>

namespace filexfer::detail {

/// The number of folders that a name has below its id's.
inline std::uint64_t folders_of(std::string_view name) noexcept {
  return static_cast<std::uint64_t>(std::count(name.begin(), name.end(), '/'));
}

/// Room for a file, in the quota and on the disk.
struct reserved_room {
  /// Counts `used` of it as stored, and releases the rest in the quota.
  void keep(stored_amount used) noexcept {
    in_quota.use(used);
    in_quota = {};
  }

  quota::reservation in_quota;
  disk_space::claim on_disk;
};

/// The space of a store in the folder `root`, which must outlive this: its quota and the disk's.
/// Interrupted uploads are kept as long as nobody else needs the space.
template <class Digest>
class store_space {
 public:
  store_space(int root, stored_amount limit, free_space keep, partial_limits limits,
              std::error_code& ec)
      : root_{root}, quota_{limit}, disk_{root, keep}, partials_{root, limits, ec} {
    const auto count_all = [this](std::error_code& failed) { return count(failed); };
    if (!ec && quota_.limited()) quota_.set_used(count_all, ec);
  }

  detail::partials& partials() noexcept { return partials_; }

  /// Reserves `amount` in the quota and `wanted` on the disk. Removes interrupted uploads if bytes
  /// or inodes are lacking.
  reserved_room reserve(stored_amount amount, disk_amount wanted, std::error_code& ec) {
    reserved_room room;
    room.in_quota = reserve_quota(amount, ec);
    if (ec) return room;
    room.on_disk = disk_.take(wanted, ec);
    if (!ec) return room;
    partials_.remove_all();
    room.on_disk = disk_.take(wanted, ec);
    return room;
  }

  /// Counts `amount` as no longer stored.
  void release(stored_amount amount) noexcept { quota_.release(amount); }

 private:
  quota::reservation reserve_quota(stored_amount amount, std::error_code& ec) {
    const auto make_room_and_count = [&](std::error_code& failed) {
      if (!quota_.has_bytes(amount.bytes)) partials_.remove_all();
      return count(failed);
    };
    return quota_.reserve(amount, make_room_and_count, ec);
  }

  stored_amount count(std::error_code& ec) {
    auto stored = count_stored<Digest>(root_, ec);
    if (!ec) stored.bytes += count_quarantined(root_, ec);
    if (!ec) stored.bytes += partials_.count_bytes(ec);
    return stored;
  }

  int root_;
  detail::quota quota_;
  disk_space disk_;
  detail::partials partials_;
};

}  // namespace filexfer::detail

#endif
