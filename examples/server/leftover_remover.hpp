#ifndef PROGRAMS_LEFTOVER_REMOVER_HPP
#define PROGRAMS_LEFTOVER_REMOVER_HPP

/// \file
/// Removes what is not needed any more from a pool, while it is served.

#include "common/log.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>

namespace programs {

/// Calls `remove_garbage` every minute, and `remove_leftovers` every hour, in a thread of its own.
template <class Store>
class leftover_remover {
 public:
  /// `log` may be null.
  leftover_remover(Store& store, server_log* log)
      : store_{store}, log_{log}, thread_{[this](const std::stop_token& stop) { run(stop); }} {}

 private:
  void run(const std::stop_token& stop) {
    constexpr std::chrono::minutes pause{1};
    constexpr std::chrono::hours long_pause{1};  // between the times that it looks for leftovers
    constexpr std::chrono::hours interval{24};   // between those that some server finds them
    const std::function<bool()> should_stop = [&stop] { return stop.stop_requested(); };
    auto next_walk = std::chrono::steady_clock::now() + pause;
    std::mutex mutex;
    std::condition_variable_any stopped;
    std::unique_lock lock{mutex};
    while (!stopped.wait_for(lock, stop, pause, should_stop)) {
      remove("removed files",
             [&](std::error_code& ec) { return store_.remove_garbage(ec, should_stop); });
      if (std::chrono::steady_clock::now() < next_walk) continue;
      remove("uploads that were not finished", [&](std::error_code& ec) {
        return store_.remove_leftovers(interval, ec, should_stop);
      });
      next_walk = std::chrono::steady_clock::now() + long_pause;
    }
  }

  template <class Remove>
  void remove(const std::string& what, Remove call) {
    try {
      std::error_code ec;
      const std::size_t count = call(ec);
      if (count > 0) log("removed bytes of " + what);
      if (ec) log("the bytes of " + what + " were not all removed: " + ec.message());
    } catch (const std::exception& e) {
      log("the bytes of " + what + " were not all removed: " + e.what());
    }
  }

  void log(const std::string& text) const {
    if (log_ != nullptr) log_->report(text);
  }

  Store& store_;
  server_log* const log_;
  std::jthread thread_;  ///< Joined first.
};

}  // namespace programs

#endif
