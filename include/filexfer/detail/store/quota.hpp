#ifndef FILEXFER_DETAIL_STORE_QUOTA_HPP
#define FILEXFER_DETAIL_STORE_QUOTA_HPP

#include <filexfer/error.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <mutex>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// Counts the bytes that are stored, as far as this process knows, and those that are reserved for
/// arriving files.
class quota {
 public:
  static constexpr std::uint64_t unlimited = std::numeric_limits<std::uint64_t>::max();

  explicit quota(std::uint64_t limit) noexcept : limit_{limit} {}

  /// Bytes reserved for a file; released unless they are kept.
  class reservation {
   public:
    reservation() noexcept = default;
    reservation(quota& owner, std::uint64_t bytes) noexcept : quota_{&owner}, bytes_{bytes} {}
    reservation(reservation&& other) noexcept
        : quota_{std::exchange(other.quota_, nullptr)}, bytes_{other.bytes_} {}
    reservation& operator=(reservation&& other) noexcept {
      reservation moved{std::move(other)};
      std::swap(quota_, moved.quota_);
      std::swap(bytes_, moved.bytes_);
      return *this;
    }
    ~reservation() { settle(0); }

    /// Counts the bytes as stored.
    void keep() noexcept { settle(bytes_); }

    /// Counts `bytes` of them as stored, and releases the rest.
    void keep(std::uint64_t bytes) noexcept { settle(bytes); }

   private:
    void settle(std::uint64_t used) noexcept {
      if (quota_ != nullptr) std::exchange(quota_, nullptr)->settle(bytes_, used);
    }

    quota* quota_ = nullptr;
    std::uint64_t bytes_ = 0;
  };

  bool limited() const noexcept { return limit_ != unlimited; }

  /// Reserves `bytes`. `errc::no_space` if there is no room even after a recount with `count(ec)`,
  /// which returns the bytes that are stored. Recounts take at most a tenth of the time, however
  /// often a peer is refused.
  template <class Count>
  reservation reserve(std::uint64_t bytes, Count count, std::error_code& ec) {
    ec.clear();
    if (!limited()) return {};
    if (take(bytes)) return {*this, bytes};
    recount(bytes, count, ec);
    if (!ec && take(bytes)) return {*this, bytes};
    if (!ec) ec = errc::no_space;
    return {};
  }

  /// Counts `bytes` as no longer stored.
  void release(std::uint64_t bytes) noexcept {
    const std::lock_guard lock{mutex_};
    used_ -= std::min(bytes, used_);
  }

  /// Sets the number of bytes that are stored.
  void set_used(std::uint64_t used) noexcept {
    const std::lock_guard lock{mutex_};
    used_ = used;
  }

 private:
  using clock = std::chrono::steady_clock;

  bool fits(std::uint64_t bytes) const noexcept {
    return used_ <= limit_ && reserved_ <= limit_ - used_ && bytes <= limit_ - used_ - reserved_;
  }

  bool take(std::uint64_t bytes) noexcept {
    const std::lock_guard lock{mutex_};
    if (!fits(bytes)) return false;
    reserved_ += bytes;
    return true;
  }

  void settle(std::uint64_t reserved, std::uint64_t used) noexcept {
    const std::lock_guard lock{mutex_};
    reserved_ -= reserved;
    used_ += used;
  }

  template <class Count>
  void recount(std::uint64_t bytes, Count& count, std::error_code& ec) {
    const std::lock_guard lock{counting_};
    {
      const std::lock_guard inner{mutex_};
      if (fits(bytes)) return;  // Another thread has recounted meanwhile.
    }
    const auto start = clock::now();
    if (start < next_count_) return;
    const std::uint64_t used = count(ec);
    if (ec) return;
    set_used(used);
    const auto end = clock::now();
    next_count_ = end + 9 * (end - start);
  }

  const std::uint64_t limit_;
  std::mutex mutex_;
  std::uint64_t used_ = 0;
  std::uint64_t reserved_ = 0;
  std::mutex counting_;
  clock::time_point next_count_{};
};

}  // namespace filexfer::detail

#endif
