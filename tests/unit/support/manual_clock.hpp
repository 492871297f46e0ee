#ifndef FILEXFER_TESTS_SUPPORT_MANUAL_CLOCK_HPP
#define FILEXFER_TESTS_SUPPORT_MANUAL_CLOCK_HPP

// Time that only a test advances: a clock, a timer on it, and functions that run a context.
//
//   client<memory_pipe&, md5, test::manual_timer> c{pipe};
//   c.async_list_files(...);
//   test::advance_clock(context, std::chrono::seconds{59});   // timers due by then have expired
//
// For single-threaded tests.

#include <asio/basic_waitable_timer.hpp>
#include <asio/io_context.hpp>

#include <chrono>
#include <system_error>

namespace test {

struct manual_clock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<manual_clock>;
  static constexpr bool is_steady = true;

  static time_point now() noexcept { return current(); }
  static void advance(duration d) noexcept { current() += d; }

 private:
  static time_point& current() noexcept {
    static time_point t{std::chrono::hours{1}};
    return t;
  }
};

// How long a context may sleep before it checks such a timer again. A test need not wait:
// `advance_clock` wakes the context.
struct manual_wait_traits {
  static manual_clock::duration to_wait_duration(const manual_clock::duration& left) noexcept {
    if (left <= manual_clock::duration::zero()) return manual_clock::duration::zero();
    return std::chrono::hours{1};
  }
};

// The smallest step of the clock: a deadline has not expired at `deadline - epsilon`.
inline constexpr manual_clock::duration epsilon{1};

using manual_timer = asio::basic_waitable_timer<manual_clock, manual_wait_traits>;

// Runs all ready handlers, and those that they make ready.
inline void run_until_idle(asio::io_context& context) {
  for (int idle = 0; idle < 2;) {
    context.restart();
    idle = context.poll() > 0 ? 0 : idle + 1;
  }
}

// Advances the clock by `d`, then runs all handlers that are ready.
inline void advance_clock(asio::io_context& context, manual_clock::duration d) {
  manual_clock::advance(d);
  manual_timer wake_up{context, manual_clock::time_point::min()};
  wake_up.async_wait([](std::error_code) {});
  run_until_idle(context);
}

}  // namespace test

#endif
