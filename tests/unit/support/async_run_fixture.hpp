#ifndef FILEXFER_TESTS_SUPPORT_ASYNC_RUN_FIXTURE_HPP
#define FILEXFER_TESTS_SUPPORT_ASYNC_RUN_FIXTURE_HPP

// Operations of the asynchronous driver on a memory pipe, in virtual time.

#include "support/bytes.hpp"
#include "support/manual_clock.hpp"
#include "support/once_handler.hpp"

#include <filexfer/detail/driver/async_run.hpp>
#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/memory_pipe.hpp>

#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <doctest/doctest.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <future>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace async_run_tests {

using namespace test;
using namespace std::chrono_literals;
using filexfer::errc;
using filexfer::make_memory_pipe;
using filexfer::memory_pipe;
using filexfer::detail::action;
using filexfer::detail::async_run;
using filexfer::detail::deadline;
using filexfer::detail::driver_settings;
using filexfer::detail::flow;
using filexfer::detail::io_kind;
using filexfer::detail::outcome;
using filexfer::detail::work;
using cancel = asio::cancellation_type;

inline const std::error_code aborted{asio::error::operation_aborted};

inline flow<outcome> await_one(action& wanted) { co_return co_await wanted; }

inline flow<std::vector<outcome>> await_each(std::vector<action*> wanted) {
  std::vector<outcome> outcomes;
  outcomes.reserve(wanted.size());
  for (action* a : wanted) outcomes.push_back(co_await *a);
  co_return outcomes;
}

inline action read_into(std::span<std::byte> buffer, io_kind kind = io_kind::read_full) {
  action a;
  a.io = kind;
  a.read_buffer = buffer;
  return a;
}

inline action write_of(std::string_view text) {
  action a;
  a.io = io_kind::write;
  a.write_buffers[0] = as_bytes(text);
  return a;
}

// An operation on one end of a pipe; the test is the peer, at the other.
struct operation_on_a_pipe {
  using expected_outcome = expected_call<void(std::error_code, outcome)>;
  using expected_outcomes = expected_call<void(std::error_code, std::vector<outcome>)>;

  explicit operation_on_a_pipe(std::size_t capacity = 1024)
      : ends{make_memory_pipe(context, capacity)} {}

  template <class Call, class MakeFlow>
  void start(Call& call, MakeFlow make) {
    call.cancelled_by(signal.slot());
    call.start([&](auto handler) {
      async_run<manual_timer>(ours, settings, std::move(make), std::move(handler));
    });
  }
  void start(expected_outcome& call, action& wanted) {
    start(call, [&wanted](std::error_code&) { return await_one(wanted); });
  }
  void start(expected_outcomes& call, std::vector<action*> wanted) {
    start(call, [wanted](std::error_code&) { return await_each(wanted); });
  }

  // The peer writes no more than the pipe has room for, and reads what is available.
  void peer_write(std::string_view text) {
    REQUIRE(theirs.write_some(asio::buffer(text)) == text.size());
    run_until_idle(context);
  }
  std::string peer_read(std::size_t most) {
    std::string text(most, '\0');
    text.resize(theirs.read_some(asio::buffer(text)));
    run_until_idle(context);
    return text;
  }

  asio::io_context context;
  std::pair<memory_pipe, memory_pipe> ends;
  memory_pipe& ours = ends.first;
  memory_pipe& theirs = ends.second;
  driver_settings settings;
  asio::cancellation_signal signal;
};

// Work that signals when it starts, and ends once it is released.
class blocking_work {
 public:
  work<std::function<void(std::error_code&)>> call{[this](std::error_code& ec) {
    start_signal_.set_value();
    if (release_signal_.get_future().wait_for(30s) != std::future_status::ready)
      ec = errc::timed_out;
  }};

  bool wait_until_started() { return started_.wait_for(30s) == std::future_status::ready; }
  bool has_started() { return started_.wait_for(0s) == std::future_status::ready; }
  void release() { release_signal_.set_value(); }

 private:
  std::promise<void> start_signal_;
  std::promise<void> release_signal_;
  std::future<void> started_ = start_signal_.get_future();
};

// Polls until `holds()`, which depends on another thread's work.
template <class Condition>
void poll_until(asio::io_context& context, Condition holds) {
  const auto end = std::chrono::steady_clock::now() + 30s;
  while (!holds() && std::chrono::steady_clock::now() < end) {
    context.restart();
    context.run_one_for(10ms);
  }
}

}  // namespace async_run_tests

#endif
