#ifndef PROGRAMS_OPERATION_RUNNER_HPP
#define PROGRAMS_OPERATION_RUNNER_HPP

/// \file
/// Runs asynchronous operations in sequential code.

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

/// Runs one asynchronous operation at a time until it completes. The program reads as sequential
/// code, and still has deadlines, progress and cancellation.
class operation_runner {
 public:
  /// `interruption::watch()` must have been called.
  operation_runner() : interruption_{context_, ::dup(interruption::descriptor())} {
    interruption_.async_wait(asio::posix::stream_descriptor::wait_read, [this](std::error_code ec) {
      if (!ec) cancel_.emit(asio::cancellation_type::terminal);
    });
  }

  asio::io_context& context() noexcept { return context_; }

  /// Calls `start(handler)`, which starts an operation with a handler
  /// `void(std::error_code, Results...)`. Returns the handler's arguments. An interruption cancels
  /// the operation.
  template <class... Results, class Start>
  std::tuple<std::error_code, Results...> run(Start start) {
    std::optional<std::tuple<std::error_code, Results...>> result;
    context_.restart();  // a context stops when it runs out of work
    start(asio::bind_cancellation_slot(cancel_.slot(), [&](std::error_code ec, Results... results) {
      result.emplace(ec, std::move(results)...);
    }));
    if (interruption::received()) cancel_.emit(asio::cancellation_type::terminal);
    while (!result) context_.run_one();
    return std::move(*result);
  }

  /// As `run`, but cancels the operation after `timeout`, with `asio::error::timed_out`.
  template <class... Results, class Start>
  std::tuple<std::error_code, Results...> run_within(std::chrono::milliseconds timeout,
                                                     Start start) {
    bool timed_out = false;
    asio::steady_timer deadline{context_, timeout};
    deadline.async_wait([&](std::error_code ec) {
      if (ec) return;
      timed_out = true;
      cancel_.emit(asio::cancellation_type::terminal);
    });
    auto result = run<Results...>(std::move(start));
    deadline.cancel();
    context_.poll();  // the deadline's handler refers to local variables
    if (timed_out && std::get<0>(result)) std::get<0>(result) = asio::error::timed_out;
    return result;
  }

 private:
  asio::io_context context_{1};
  asio::cancellation_signal cancel_;
  asio::posix::stream_descriptor interruption_;
};

}  // namespace programs

#endif
