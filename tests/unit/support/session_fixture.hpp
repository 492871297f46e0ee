#ifndef FILEXFER_TESTS_SUPPORT_SESSION_FIXTURE_HPP
#define FILEXFER_TESTS_SUPPORT_SESSION_FIXTURE_HPP

// A session on a memory pipe, in virtual time.

#include "support/failing_store.hpp"
#include "support/manual_clock.hpp"
#include "support/once_handler.hpp"
#include "support/pipe_peer.hpp"
#include "support/session_replies.hpp"

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

using namespace test;
using namespace std::chrono_literals;
using filexfer::errc;
using filexfer::memory_pipe;
using filexfer::session_event;
using filexfer::session_options;
using cancel = asio::cancellation_type;

inline constexpr std::size_t chunk = 65536;
inline const std::error_code aborted{asio::error::operation_aborted};
inline const std::string features_reply = all_features + "\n";

// A session on one end of a pipe; the test is the client, at the other.
struct session_on_a_pipe {
  using session_type = filexfer::session<memory_pipe&, failing_store, filexfer::md5, manual_timer>;

  explicit session_on_a_pipe(const session_options& options = {}, std::size_t capacity = 1024)
      : ends{filexfer::make_memory_pipe(context, capacity)}, session{ends.first, store, options} {}

  void start() {
    call.cancelled_by(signal.slot());
    call.start([&](auto handler) { session.async_run(std::move(handler)); });
    run_until_idle(context);
  }
  void start_and_receive() {
    peer.receive();
    start();
  }
  void send(std::string text) {
    peer.send(std::move(text));
    run_until_idle(context);
  }
  void wait(std::chrono::nanoseconds time) { advance_clock(context, time); }
  void emit(cancel type) {
    signal.emit(type);
    run_until_idle(context);
  }

  // Closes the client's end, which ends a session that has not ended yet.
  std::error_code result() {
    peer.close();
    run_until_idle(context);
    return std::get<0>(call.result());
  }

  failing_store store;
  asio::cancellation_signal signal;
  asio::io_context context;
  std::pair<memory_pipe, memory_pipe> ends;
  pipe_peer peer{ends.second};
  session_type session;
  expected_call<void(std::error_code)> call;
};

// The session has sent `replies` and a final ERROR, and closes 2 s later.
inline void check_ends_with(session_on_a_pipe& s, const std::string& replies, errc code) {
  CHECK(s.peer.received == replies + refusal(code));
  CHECK(s.peer.ended);  // the session has shut down its sending side
  CHECK_FALSE(s.call.called());
  s.wait(2s - epsilon);
  CHECK_FALSE(s.call.called());
  s.wait(epsilon);
  CHECK(s.call.called());
  CHECK_FALSE(s.ends.first.is_open());
}

inline void check_closed_silently(session_on_a_pipe& s, const std::string& replies) {
  CHECK(s.peer.received == replies);
  CHECK(s.call.called());
  CHECK_FALSE(s.ends.first.is_open());
}

}  // namespace session_tests

#endif
