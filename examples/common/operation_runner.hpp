#ifndef PROGRAMS_OPERATION_RUNNER_HPP
#define PROGRAMS_OPERATION_RUNNER_HPP

/// \file
/// Asynchronous operations for a program that does one thing after another.

#include "common/interruption.hpp"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>
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
class operation_runner {
 public:
  /// `interruption::watch()` must have been called.
  operation_runner() : interruption_{context_, ::dup(interruption::descriptor())} {
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
    context_.restart();  // it stops where nothing is under way
    start(asio::bind_cancellation_slot(cancel_.slot(), [&](std::error_code ec, Results... results) {
      ended.emplace(ec, std::move(results)...);
    }));
    if (interruption::came()) cancel_.emit(asio::cancellation_type::terminal);
    while (!ended) context_.run_one();
    return std::move(*ended);
  }

  /// The same, with `asio::error::timed_out` if it has not ended within that time.
  template <class... Results, class Start>
  std::tuple<std::error_code, Results...> run_within(std::chrono::seconds time, Start start) {
    bool late = false;
    asio::steady_timer deadline{context_, time};
    deadline.async_wait([&](std::error_code ec) {
      if (ec) return;
      late = true;
      cancel_.emit(asio::cancellation_type::terminal);
    });
    auto ended = run<Results...>(std::move(start));
    deadline.cancel();
    context_.poll();  // the deadline's handler refers to what is here
    if (late && std::get<0>(ended)) std::get<0>(ended) = asio::error::timed_out;
    return ended;
  }

 private:
  asio::io_context context_{1};
  asio::cancellation_signal cancel_;
  asio::posix::stream_descriptor interruption_;
};

}  // namespace programs

#endif
