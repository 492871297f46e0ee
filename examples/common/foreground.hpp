#ifndef PROGRAMS_FOREGROUND_HPP
#define PROGRAMS_FOREGROUND_HPP

/// \file
/// Asynchronous operations for a program that does one thing after another.

#include "common/interruption.hpp"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>

#include <chrono>
#include <optional>
#include <system_error>
#include <tuple>
#include <utility>

#include <unistd.h>

namespace programs {

/// Runs operations one at a time, each to its end, so that a program reads from top to bottom and
/// still has deadlines, progress and cancelling.
class foreground {
 public:
  /// `interruption::watch()` must have been called.
  foreground() : interruption_{context_, ::dup(interruption::descriptor())} {
    interruption_.async_wait(asio::posix::stream_descriptor::wait_read, [this](std::error_code ec) {
      if (!ec) cancel_.emit(asio::cancellation_type::terminal);
    });
  }

  asio::io_context& context() noexcept { return context_; }

  /// Calls `start(handler)`, which starts an operation whose handler is
  /// `void(std::error_code, Results...)`; returns what the handler got. An interruption cancels it.
  template <class... Results, class Start>
  std::tuple<std::error_code, Results...> run(Start start) {
    std::optional<std::tuple<std::error_code, Results...>> ended;
    start(asio::bind_cancellation_slot(cancel_.slot(), [&](std::error_code ec, Results... results) {
      ended.emplace(ec, std::move(results)...);
    }));
    if (interruption::came()) cancel_.emit(asio::cancellation_type::terminal);
    while (!ended) context_.run_one();
    return std::move(*ended);
  }

  /// Lets some time pass, or less if there is an interruption.
  void wait(std::chrono::milliseconds time) {
    asio::steady_timer timer{context_, time};
    run<>([&](auto handler) { timer.async_wait(std::move(handler)); });
  }

 private:
  asio::io_context context_{1};
  asio::cancellation_signal cancel_;
  asio::posix::stream_descriptor interruption_;
};

}  // namespace programs

#endif
