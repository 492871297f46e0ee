#ifndef FILEXFER_TESTS_SUPPORT_SESSION_FIXTURE_HPP
#define FILEXFER_TESTS_SUPPORT_SESSION_FIXTURE_HPP

// A session on a memory pipe, in virtual time.

#include "support/dialogues.hpp"
#include "support/failing_store.hpp"
#include "support/manual_clock.hpp"
#include "support/once_handler.hpp"
#include "support/pipe_peer.hpp"

#include <filexfer/memory_pipe.hpp>
#include <filexfer/session.hpp>

#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>

namespace session_tests {

using namespace std::chrono_literals;
using filexfer::errc;
using filexfer::memory_pipe;
using filexfer::session_options;
using test::failing_store;
using test::pass;
using test::refusal;
using test::settle;
using cancel = asio::cancellation_type;

inline constexpr auto just_under = 1ns;
inline constexpr std::size_t chunk = 65536;
inline const std::error_code aborted{asio::error::operation_aborted};
inline const std::string features_reply = test::all_features + "\n";

// A session on one end of a pipe; the test is the client, at the other.
struct session_on_a_pipe {
  using session_type =
      filexfer::session<memory_pipe&, failing_store, filexfer::md5, test::manual_timer>;

  explicit session_on_a_pipe(const session_options& options = {}, std::size_t capacity = 1024)
      : ends{filexfer::make_memory_pipe(context, capacity)}, session{ends.first, store, options} {}

  void start() {
    call.cancelled_by(signal.slot());
    call.start([&](auto handler) { session.async_run(std::move(handler)); });
    settle(context);
  }
  void start_and_listen() {
    peer.listen();
    start();
  }
  void send(std::string text) {
    peer.say(std::move(text));
    settle(context);
  }
  void wait(std::chrono::nanoseconds time) { pass(context, time); }
  void emit(cancel type) {
    signal.emit(type);
    settle(context);
  }

  // Closes the client's end, which ends a session that has not ended yet.
  std::error_code result() {
    peer.close();
    settle(context);
    return std::get<0>(call.result());
  }

  failing_store store;
  asio::cancellation_signal signal;
  asio::io_context context;
  std::pair<memory_pipe, memory_pipe> ends;
  test::pipe_peer peer{ends.second};
  session_type session;
  test::expected_call<void(std::error_code)> call;
};

// The session has sent `replies` and a final ERROR, and closes 2 s later.
inline void check_ends_with(session_on_a_pipe& s, const std::string& replies, errc code) {
  CHECK(s.peer.heard == replies + refusal(code));
  CHECK(s.peer.ended);  // the session has shut down its sending side
  CHECK_FALSE(s.call.called());
  s.wait(2s - just_under);
  CHECK_FALSE(s.call.called());
  s.wait(just_under);
  CHECK(s.call.called());
  CHECK_FALSE(s.ends.first.is_open());
}

inline void check_closed_silently(session_on_a_pipe& s, const std::string& replies) {
  CHECK(s.peer.heard == replies);
  CHECK(s.call.called());
  CHECK_FALSE(s.ends.first.is_open());
}

}  // namespace session_tests

#endif
