#ifndef FILEXFER_TESTS_VIRTUAL_TIMER_HPP
#define FILEXFER_TESTS_VIRTUAL_TIMER_HPP

// A timer on the manual clock for thousands of sessions a second. It does not ask the system to be
// woken, which costs more than all the rest of a session, and a test can let time pass until the
// next one is due. For tests of one thread; one wait at a time.

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

namespace tests {

class virtual_timer {
 public:
  using clock_type = test::manual_clock;
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
    if (!waiting_) return 0;
    due_.erase(place_);
    complete(asio::error::operation_aborted);
    return 1;
  }

  template <class Token>
  auto async_wait(Token&& token) {
    auto initiate = [](auto&& handler, virtual_timer* self) { self->start(std::move(handler)); };
    return asio::async_initiate<Token, void(std::error_code)>(initiate, token, this);
  }

  /// Lets that much time pass; what is due by then completes when the context runs.
  static void pass(duration by) {
    clock_type::advance(by);
    while (!due_.empty() && due_.begin()->first <= clock_type::now()) {
      virtual_timer& self = *due_.begin()->second;
      due_.erase(due_.begin());
      self.complete({});
    }
  }

  /// Lets time pass until the next timer is due; false if none waits.
  static bool pass_to_next() {
    if (due_.empty()) return false;
    pass(std::max(due_.begin()->first - clock_type::now(), duration{0}));
    return true;
  }

  static bool any_waits() noexcept { return !due_.empty(); }

 private:
  // Without a virtual function: UBSan looks at one with the help of a pipe, and so finds fault with
  // it where a test has taken all descriptors.
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
    const auto ended = std::exchange(waiting_, nullptr);
    ended->complete(*ended, ec);
  }

  template <class Handler>
  void start(Handler&& handler) {
    auto slot = asio::get_associated_cancellation_slot(handler);
    if (slot.is_connected()) slot.assign([this](asio::cancellation_type) { cancel(); });
    waiting_.reset(new wait_of<std::decay_t<Handler>>{std::move(handler), executor_});
    place_ = due_.emplace(expiry_, this);
  }

  using queue = std::multimap<time_point, virtual_timer*>;
  static inline queue due_;

  asio::any_io_executor executor_;
  time_point expiry_{};
  wait_pointer waiting_;
  queue::iterator place_;
};

}  // namespace tests

#endif
