#ifndef FILEXFER_DETAIL_STORE_VERIFY_PACE_HPP
#define FILEXFER_DETAIL_STORE_VERIFY_PACE_HPP

#include <filexfer/detail/store/stored_bytes.hpp>
#include <filexfer/verification.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>

namespace filexfer::detail {

/// Keeps a verification to the rate of its options, ends it if they say so, and tells its part.
class verify_pace {
 public:
  using clock = std::chrono::steady_clock;

  explicit verify_pace(const verify_options& options) noexcept : options_{options} {}

  /// Bytes to read at a time: few enough to keep to a low rate smoothly.
  std::size_t chunk_size() const noexcept {
    if (options_.max_rate == 0) return read_size;
    return static_cast<std::size_t>(
        std::clamp<std::uint64_t>(options_.max_rate / 10, 4096, read_size));
  }

  /// Whether a file is in the part to be verified.
  template <class Digest>
  bool is_in_part(const Digest& id) const noexcept {
    const auto first = std::to_integer<std::size_t>(id.value()[0]);
    const auto second = std::to_integer<std::size_t>(id.value()[1]);
    return (256 * first + second) % options_.parts == options_.part;
  }

  /// Waits as long as `max_rate` demands after so many bytes; false if the verification is to stop.
  bool keep_rate(std::size_t bytes) {
    if (options_.max_rate == 0) return wait_until({});
    const std::chrono::duration<double> time{static_cast<double>(bytes) /
                                             static_cast<double>(options_.max_rate)};
    next_read_ =
        std::max(next_read_, clock::now()) + std::chrono::duration_cast<clock::duration>(time);
    return wait_until(next_read_);
  }

  /// Returns whether the verification goes on.
  bool wait_until(clock::time_point time) const {
    for (;;) {
      if (options_.should_stop && options_.should_stop()) return false;
      const auto now = clock::now();
      if (now >= time) return true;
      std::this_thread::sleep_until(std::min(time, now + pause));
    }
  }

  /// The longest time without a look at the options.
  static constexpr std::chrono::milliseconds pause{50};

 private:
  const verify_options& options_;
  clock::time_point next_read_{};
};

}  // namespace filexfer::detail

#endif
