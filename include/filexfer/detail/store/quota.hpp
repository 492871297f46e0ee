#ifndef FILEXFER_DETAIL_STORE_QUOTA_HPP
#define FILEXFER_DETAIL_STORE_QUOTA_HPP

#include <filexfer/detail/store/held_amount.hpp>
#include <filexfer/error.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <mutex>
#include <system_error>

namespace filexfer::detail {

/// What a quota counts.
struct stored_amount {
  std::uint64_t bytes = 0;
  std::uint64_t names = 0;

  stored_amount& operator+=(const stored_amount& other) noexcept {
    bytes += other.bytes;
    names += other.names;
    return *this;
  }

  /// Not below 0.
  stored_amount& operator-=(const stored_amount& other) noexcept {
    bytes -= std::min(bytes, other.bytes);
    names -= std::min(names, other.names);
    return *this;
  }
};

/// Counts the bytes and names that are stored, as far as this process knows, and those that are
/// reserved for arriving files.
class quota {
 public:
  static constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

  explicit quota(stored_amount limit) noexcept : limit_{limit} {}

  /// What is reserved for a file. What was used of it counts as stored.
  using reservation = held_amount<quota, stored_amount>;

  bool limited() const noexcept { return limit_.bytes != unlimited || limit_.names != unlimited; }

  /// Whether so many bytes fit in, whatever the names.
  bool has_bytes(std::uint64_t bytes) noexcept {
    const std::lock_guard lock{mutex_};
    return fits(bytes, used_.bytes, reserved_.bytes, limit_.bytes);
  }

  /// Reserves `amount`. `errc::no_space` if there is no room even after a recount with `count(ec)`,
  /// which returns what is stored. Recounts take at most a tenth of the time, however often a peer
  /// is refused. While another thread recounts, sets `operation_would_block` rather than wait.
  template <class Count>
  reservation reserve(stored_amount amount, Count count, std::error_code& ec) {
    ec.clear();
    if (!limited()) return {};
    if (take(amount)) return {*this, amount};
    recount(count, ec);
    if (!ec && take(amount)) return {*this, amount};
    if (!ec) ec = errc::no_space;
    return {};
  }

  /// Counts `amount` as no longer stored.
  void release(stored_amount amount) noexcept {
    const std::lock_guard lock{mutex_};
    used_ -= amount;
  }

  /// Counts with `count(ec)` what is stored. What is kept meanwhile is added, as the count may have
  /// missed it; the next one puts that right.
  template <class Count>
  void set_used(Count count, std::error_code& ec) {
    {
      const std::lock_guard lock{mutex_};
      kept_meanwhile_ = {};
    }
    const stored_amount counted = count(ec);
    if (ec) return;
    const std::lock_guard lock{mutex_};
    used_ = counted;
    used_ += kept_meanwhile_;
  }

 private:
  using clock = std::chrono::steady_clock;

  static bool fits(std::uint64_t more, std::uint64_t used, std::uint64_t reserved,
                   std::uint64_t limit) noexcept {
    if (limit == unlimited) return true;
    return used <= limit && reserved <= limit - used && more <= limit - used - reserved;
  }

  bool take(stored_amount amount) noexcept {
    const std::lock_guard lock{mutex_};
    if (!fits(amount.bytes, used_.bytes, reserved_.bytes, limit_.bytes) ||
        !fits(amount.names, used_.names, reserved_.names, limit_.names)) {
      return false;
    }
    reserved_ += amount;
    return true;
  }

  friend reservation;

  void use(stored_amount& held, stored_amount used) noexcept {
    const stored_amount reserved{std::min(used.bytes, held.bytes),
                                 std::min(used.names, held.names)};
    held -= reserved;
    const std::lock_guard lock{mutex_};
    reserved_ -= reserved;
    used_ += used;
    kept_meanwhile_ += used;
  }

  void give_back(stored_amount amount) noexcept {
    const std::lock_guard lock{mutex_};
    reserved_ -= amount;
  }

  template <class Count>
  void recount(Count& count, std::error_code& ec) {
    const std::unique_lock lock{counting_, std::try_to_lock};
    if (!lock) {
      ec = std::make_error_code(std::errc::operation_would_block);
      return;
    }
    const auto start = clock::now();
    if (start < next_count_) return;
    set_used(count, ec);
    const auto end = clock::now();
    next_count_ = end + 9 * (end - start);
  }

  const stored_amount limit_;
  std::mutex mutex_;
  stored_amount used_;
  stored_amount reserved_;
  stored_amount kept_meanwhile_;  ///< Since the last count began.
  std::mutex counting_;
  clock::time_point next_count_{};
};

}  // namespace filexfer::detail

#endif
