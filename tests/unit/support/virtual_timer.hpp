#ifndef FILEXFER_TESTS_SUPPORT_VIRTUAL_TIMER_HPP
#define FILEXFER_TESTS_SUPPORT_VIRTUAL_TIMER_HPP

// A timer on the manual clock, fast enough for thousands of sessions a second: it never sets a
// timer of the system, which would cost more than the rest of a session. A test can also advance
// the clock to the next expiry. For single-threaded tests; one pending wait per timer.

#include "support/manual_clock.hpp"

#include <filexfer/detail/driver/work_guard.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <system_error>
#include <type_traits>
#include <utility>

namespace test {

class virtual_timer {
 public:
  using clock_type = manual_clock;
  using duration = clock_type::duration;
  using time_point = clock_type::time_point;

  explicit virtual_timer(asio::any_io_executor executor) : executor_{std::move(executor)} {}
  virtual_timer(const virtual_timer&) = delete;
  virtual_timer& operator=(const virtual_timer&) = delete;
  ~virtual_timer() { cancel(); }

  time_point expiry() const noexcept { return expiry_; }

  std::size_t expires_at(time_point expiry) {
    const std::size_t cancelled = cancel();
    expiry_ = expiry;
    return cancelled;
  }
  std::size_t expires_after(duration after) { return expires_at(clock_type::now() + after); }

  std::size_t cancel() {
    if (!pending_) return 0;
    due.erase(position_);
    complete(asio::error::operation_aborted);
    return 1;
  }

  template <class Token>
  auto async_wait(Token&& token) {
    auto initiate = [](auto&& handler, virtual_timer* self) {
      self->start(std::forward<decltype(handler)>(handler));
    };
    return asio::async_initiate<Token, void(std::error_code)>(initiate, token, this);
  }

  /// Advances the clock by `by`. Waits due by then complete once the context runs.
  static void advance(duration by) {
    clock_type::advance(by);
    while (!due.empty() && due.begin()->first <= clock_type::now()) {
      virtual_timer& self = *due.begin()->second;
      due.erase(due.begin());
      self.complete({});
    }
  }

  /// Advances the clock to the next expiry; false if no wait is pending.
  static bool advance_to_next_expiry() {
    if (due.empty()) return false;
    advance(std::max(due.begin()->first - clock_type::now(), duration{0}));
    return true;
  }

  static bool any_waits() noexcept { return !due.empty(); }

 private:
  // No virtual functions: UBSan needs a pipe to check a vtable, and reports an error in tests that
  // have used up all descriptors.
  struct wait {
    void (*complete)(wait& self, std::error_code ec);
    void (*destroy)(wait* self);
  };
  struct wait_deleter {
    void operator()(wait* w) const { w->destroy(w); }
  };
  using wait_pointer = std::unique_ptr<wait, wait_deleter>;

  template <class Handler>
  struct wait_of final : wait {
    using executor = asio::associated_executor_t<Handler, asio::any_io_executor>;
    wait_of(Handler&& h, const asio::any_io_executor& fallback)
        : wait{&wait_of::do_complete, &wait_of::do_destroy},
          handler{std::move(h)},
          guard{asio::get_associated_executor(handler, fallback)} {}
    static void do_complete(wait& base, std::error_code ec) {
      auto& self = static_cast<wait_of&>(base);
      asio::post(self.guard.get_executor(),
                 [h = std::move(self.handler), ec]() mutable { std::move(h)(ec); });
    }
    static void do_destroy(wait* base) { delete static_cast<wait_of*>(base); }
    Handler handler;
    filexfer::detail::work_guard<executor> guard;
  };

  void complete(std::error_code ec) {
    const auto completed = std::exchange(pending_, nullptr);
    completed->complete(*completed, ec);
  }

  template <class Handler>
  void start(Handler&& handler) {
    auto slot = asio::get_associated_cancellation_slot(handler);
    if (slot.is_connected()) slot.assign([this](asio::cancellation_type) { cancel(); });
    pending_.reset(new wait_of<std::decay_t<Handler>>{std::forward<Handler>(handler), executor_});
    position_ = due.emplace(expiry_, this);
  }

  using queue = std::multimap<time_point, virtual_timer*>;
  static inline queue due;

  asio::any_io_executor executor_;
  time_point expiry_{};
  wait_pointer pending_;
  queue::iterator position_;
};

}  // namespace test

#endif
