#ifndef PROGRAMS_STDIO_SERVICE_HPP
#define PROGRAMS_STDIO_SERVICE_HPP

/// \file
/// Serves one client, on standard input and output.

#include "common/log.hpp"
#include "common/server_settings.hpp"
#include "common/standard_streams.hpp"

#include <filexfer/any_stream.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/pipe_stream.hpp>
#include <filexfer/session.hpp>
#include <filexfer/session_event.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>
#include <asio/thread_pool.hpp>

#include <csignal>
#include <system_error>

namespace programs {

/// One session, and its life until the client or a signal ends it.
template <class Store, filexfer::hasher Hasher>
class stdio_service {
 public:
  /// Takes `streams` over. Throws `std::system_error`.
  stdio_service(const server_settings& chosen, Store& store, const standard_streams& streams)
      : settings_{chosen},
        session_{filexfer::any_stream{
                     filexfer::pipe_stream{context_.get_executor(), streams.input, streams.output}},
                 store, chosen.options.session} {
    session_.work_executor(work_.get_executor());
    if (!chosen.quiet) {
      session_.observe([](const filexfer::session_event& event) { log_event("stdio", event); });
    }
  }

  /// Returns how the session ended; one that a signal ended has not failed.
  std::error_code run() {
    std::error_code ended;
    session_.async_run(asio::bind_cancellation_slot(cancel_.slot(), [&](std::error_code ec) {
      if (!stopping_) ended = ec;
      over_ = true;
      signals_.cancel();
      grace_.cancel();
    }));
    await_signal();
    context_.run();
    return ended;
  }

 private:
  void await_signal() {
    signals_.async_wait([this](std::error_code ec, int) {
      if (ec || over_) return;  // a signal may have come before its wait was cancelled
      if (stopping_) break_off();
      else stop();
    });
  }

  void stop() {
    stopping_ = true;
    if (!settings_.quiet) log_text("stopping: what is under way may end");
    await_signal();
    grace_.expires_after(settings_.options.grace);
    grace_.async_wait([this](std::error_code ec) {
      if (!ec && !over_) break_off();
    });
    cancel_.emit(asio::cancellation_type::total);
  }

  void break_off() {
    if (!settings_.quiet) log_text("breaking off what is under way");
    cancel_.emit(asio::cancellation_type::terminal);
  }

  const server_settings& settings_;
  asio::io_context context_{1};
  asio::thread_pool work_{settings_.threads};  // for hashing, and for a disk that stalls
  asio::cancellation_signal cancel_;
  asio::signal_set signals_{context_, SIGINT, SIGTERM};
  asio::steady_timer grace_{context_};
  filexfer::session<filexfer::any_stream, Store, Hasher> session_;
  bool stopping_ = false;
  bool over_ = false;
};

}  // namespace programs

#endif
