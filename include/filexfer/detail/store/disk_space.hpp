#ifndef FILEXFER_DETAIL_STORE_DISK_SPACE_HPP
#define FILEXFER_DETAIL_STORE_DISK_SPACE_HPP

#include <filexfer/detail/store/held_amount.hpp>
#include <filexfer/error.hpp>
#include <filexfer/options.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <mutex>
#include <system_error>

#include <sys/statvfs.h>

namespace filexfer::detail {

/// What files take of a disk.
struct disk_amount {
  std::uint64_t bytes = 0;
  std::uint64_t inodes = 0;  ///< Files and folders; each takes a block, too.
};

/// The space of the disk that a folder is on, as the file system reports it, less what was claimed
/// for arriving files and has not been used yet. Other processes' uploads are not known.
class disk_space {
 public:
  /// `folder` must outlive this.
  disk_space(int folder, free_space keep) noexcept : folder_{folder}, keep_{keep} {}

  /// Space for one arriving file. What was used of it, the file system reports from then on.
  using claim = held_amount<disk_space, disk_amount>;

  /// Claims space; `errc::no_space` if less than what is to be kept would be left.
  claim take(disk_amount wanted, std::error_code& ec) noexcept {
    ec.clear();
    const std::lock_guard lock{mutex_};  // also during `statvfs`, so that nothing used is missed
    struct statvfs disk {};
    const bool is_known = ::fstatvfs(folder_, &disk) == 0 && disk.f_blocks > 0;
    if (is_known && !fits(wanted, disk)) {
      ec = errc::no_space;
      return {};
    }
    claimed_.bytes += wanted.bytes;
    claimed_.inodes += wanted.inodes;
    return {*this, wanted};
  }

 private:
  static constexpr std::uint64_t max = std::numeric_limits<std::uint64_t>::max();

  static std::uint64_t product(std::uint64_t a, std::uint64_t b) noexcept {
    return b == 0 || a <= max / b ? a * b : max;
  }

  /// Whether `wanted` fits between what is claimed and what is to be kept.
  static bool fits(std::uint64_t wanted, std::uint64_t claimed, std::uint64_t keep,
                   std::uint64_t available) noexcept {
    if (wanted == 0) return true;
    return keep <= available && claimed <= available - keep && wanted <= available - keep - claimed;
  }

  bool fits(disk_amount wanted, const struct statvfs& disk) const noexcept {
    const std::uint64_t block = disk.f_frsize;
    const auto keep = std::max(keep_.bytes, product(disk.f_blocks / 100 * keep_.percent, block));
    if (!fits(wanted.bytes + wanted.inodes * block, claimed_.bytes + claimed_.inodes * block, keep,
              product(disk.f_bavail, block))) {
      return false;
    }
    // Some file systems make inodes as they need them, and report none.
    return disk.f_files == 0 ||
           fits(wanted.inodes, claimed_.inodes, disk.f_files / 100 * keep_.percent, disk.f_favail);
  }

  friend claim;

  void use(disk_amount& held, disk_amount used) noexcept {
    used = {std::min(used.bytes, held.bytes), std::min(used.inodes, held.inodes)};
    held.bytes -= used.bytes;
    held.inodes -= used.inodes;
    give_back(used);
  }

  void give_back(disk_amount amount) noexcept {
    const std::lock_guard lock{mutex_};
    claimed_.bytes -= amount.bytes;
    claimed_.inodes -= amount.inodes;
  }

  int folder_;
  free_space keep_;
  std::mutex mutex_;
  disk_amount claimed_;
};

}  // namespace filexfer::detail

#endif
