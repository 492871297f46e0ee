#ifndef FILEXFER_TESTS_SUPPORT_MANUAL_CLOCK_HPP
#define FILEXFER_TESTS_SUPPORT_MANUAL_CLOCK_HPP

// Time that passes when a test says so: a clock, a timer of it, and how to let a context notice.
//
//   client<memory_pipe&, md5, test::manual_timer> c{pipe};
//   c.async_list_files(...);
//   test::pass(context, std::chrono::seconds{59});   // what is due by then has happened
//
// For tests of one thread.

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

// How long a context may sleep before it looks at such a timer again: it has to be woken.
struct manual_wait_traits {
  static manual_clock::duration to_wait_duration(const manual_clock::duration& left) noexcept {
    if (left <= manual_clock::duration::zero()) return manual_clock::duration::zero();
    return std::chrono::hours{1};
  }
};

using manual_timer = asio::basic_waitable_timer<manual_clock, manual_wait_traits>;

// Runs whatever is ready, and what becomes ready by that.
inline void settle(asio::io_context& context) {
  for (int idle = 0; idle < 2;) {
    context.restart();
    idle = context.poll() > 0 ? 0 : idle + 1;
  }
}

inline void pass(asio::io_context& context, manual_clock::duration d) {
  manual_clock::advance(d);
  manual_timer wakes_the_context{context, manual_clock::time_point::min()};
  wakes_the_context.async_wait([](std::error_code) {});
  settle(context);
}

}  // namespace test

#endif
