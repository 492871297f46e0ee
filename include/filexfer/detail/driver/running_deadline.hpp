#ifndef FILEXFER_DETAIL_DRIVER_RUNNING_DEADLINE_HPP
#define FILEXFER_DETAIL_DRIVER_RUNNING_DEADLINE_HPP

// The deadline of an action's I/O.

#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/options.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace filexfer::detail {

/// How often a driver checks whether an action's I/O was revoked.
inline constexpr std::chrono::milliseconds revoked_poll_interval{250};

/// The deadlines of successive actions, as time points of `Clock`.
template <class Clock>
class running_deadline {
 public:
  using time_point = typename Clock::time_point;

  explicit running_deadline(const time_limits& limits) noexcept : limits_{limits} {}

  /// An action starts that transfers `bytes`.
  void begin(const action& wanted, std::uint64_t bytes) {
    if (wanted.continues_deadline) return;
    const auto now = Clock::now();
    next_poll_ = wanted.revoked != nullptr ? after(now, revoked_poll_interval) : time_point::max();
    if (wanted.io == io_kind::pause) {
      when_ = after(now, wanted.pause);
      return;
    }
    switch (wanted.deadline) {
      case deadline::line: when_ = after(now, limits_.line); break;
      case deadline::reply: when_ = after(now, limits_.reply); break;
      case deadline::linger: when_ = after(now, limits_.linger); break;
      case deadline::none: when_ = time_point::max(); break;
      case deadline::idle:
        when_ = after(now, limits_.idle);
        latest_ = time_point::max();
        if (limits_.least_rate > 0) {
          const double rate = static_cast<double>(limits_.least_rate);
          latest_ = after(when_, seconds{static_cast<double>(bytes) / rate});
        }
        break;
    }
  }

  /// Bytes were transferred: restarts the idle timeout, up to what the least rate allows.
  void progress(const action& wanted) {
    if (wanted.deadline != deadline::idle) return;
    when_ = std::min(after(Clock::now(), limits_.idle), latest_);
  }

  /// The driver has checked whether the I/O was revoked.
  void polled() {
    if (next_poll_ != time_point::max()) next_poll_ = after(Clock::now(), revoked_poll_interval);
  }

  /// When the driver has to act: the deadline, or the next check.
  time_point when() const noexcept { return std::min(when_, next_poll_); }
  bool passed() const { return Clock::now() >= when_; }

 private:
  using seconds = std::chrono::duration<double>;

  /// `start + limit`, without overflow.
  template <class Duration>
  static time_point after(time_point start, Duration limit) {
    constexpr auto never = time_point::max();
    return seconds{limit} < seconds{never - start}
               ? start + std::chrono::duration_cast<typename Clock::duration>(limit)
               : never;
  }

  time_limits limits_;
  time_point when_{};
  time_point latest_{};
  time_point next_poll_ = time_point::max();
};

}  // namespace filexfer::detail

#endif
