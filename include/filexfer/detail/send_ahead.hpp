#ifndef FILEXFER_DETAIL_SEND_AHEAD_HPP
#define FILEXFER_DETAIL_SEND_AHEAD_HPP

// Commands that leave before the replies to those before them have come (the protocol's section 7,
// "pipelining"): thousands of small files cost a handful of round trips.

#include <filexfer/detail/client_state.hpp>
#include <filexfer/detail/connection.hpp>
#include <filexfer/detail/flow.hpp>
#include <filexfer/error.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <deque>
#include <exception>
#include <iterator>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

using byte_buffer = std::vector<std::byte>;

inline void append(byte_buffer& buffer, std::string_view text) {
  const auto bytes = as_bytes(text);
  buffer.insert(buffer.end(), bytes.begin(), bytes.end());
}

/// Requests made of the elements of `Range`, each of which is a `Flight` until it has been
/// answered. What it makes of the next elements is done as work, while replies to those before are
/// taken.
template <class Range, class Flight>
class requests_of {
 public:
  /// Whether there is something to be made ready, and room for it.
  bool may_fill() const noexcept { return !at_end_ && in_flight_.size() + batch_ <= window_; }

  /// Whether a reply is still to come.
  bool expects() const noexcept { return !in_flight_.empty(); }

  /// Nothing is left to do with what was taken.
  flow<void> finish(std::error_code&) { co_return; }

 protected:
  /// `window`: commands in flight at most, of which half leave at once.
  requests_of(Range& range, std::size_t window)
      : window_{std::max<std::size_t>(window, 1)},
        batch_{std::max<std::size_t>(window / 2, 1)},
        range_{range} {}

  /// The next element; nullptr at the end.
  auto* next() {
    if (!next_) next_.emplace(std::begin(range_));
    else if (std::exchange(passes_, false)) ++*next_;
    at_end_ = *next_ == std::end(range_);
    return at_end_ ? nullptr : &**next_;
  }

  /// The next element is done with.
  void pass() noexcept { passes_ = true; }

  bool is_full() const noexcept { return filled_.size() >= batch_; }

  // Used by work, or while there is none.
  std::vector<Flight> filled_;  ///< What was made ready, and has not left.
  bool at_end_ = false;

  std::deque<Flight> in_flight_;

 private:
  std::size_t window_;
  std::size_t batch_;
  Range& range_;
  std::optional<decltype(std::begin(std::declval<Range&>()))> next_;
  bool passes_ = false;
};

/// Judges a reply to a command whose argument has left with it. Where the command itself is
/// refused, nobody knows what its argument is taken for.
inline void judge_reply_ahead(client_state& state, std::string_view line, bool was_prompted,
                              std::error_code& ec) {
  judge_reply(state, line, was_prompted ? reply_to::argument : reply_to::command, ec);
  state.in_step = state.in_step && was_prompted;
}

/// Tells what a request has come to, if that is known; whether another may follow.
template <class Tell>
bool goes_on_after(client_state& state, std::error_code& ec, Tell tell) {
  const bool lost = ec && !state.in_step;
  if (lost && state.origin != failure_origin::local) return false;
  tell();
  if (lost) return false;
  ec.clear();
  state.origin = failure_origin::none;
  state.in_step = false;
  return true;
}

/// Sends what `requests` makes ready, and gives it the replies; `buffers` live until no write
/// stands any more.
///
/// `requests` has `may_fill`, `expects`, `fill(buffer)`, which makes the next requests ready,
/// `leaves()`, called when these are about to leave, and two flows: `take(line, ec)` for each
/// reply, and `finish(ec)` once there is no other whole line.
template <class Requests>
flow<void> send_and_take(client_state& state, Requests& requests,
                         std::array<byte_buffer, 2>& buffers, std::error_code& ec) {
  connection& c = state.link;
  byte_buffer* leaving = &buffers[0];
  byte_buffer* filling = &buffers[1];
  work making{[&](std::error_code&) {
    filling->clear();
    requests.fill(*filling);
  }};
  bool filled = false;
  bool writes = false;
  bool waits_on = false;  // for what it has waited for before, under one deadline
  action both;
  both.io = io_kind::read_write;
  std::error_code write_error;
  for (;;) {
    while (requests.expects()) {  // what a server says beyond that is no reply to anything
      const auto line = c.in.take_line();
      if (!line) break;
      co_await requests.take(*line, ec);
      if (ec) co_return;
      waits_on = writes;
    }
    co_await requests.finish(ec);
    if (ec) co_return;
    if (!writes && filled) {
      std::swap(leaving, filling);
      filled = false;
      requests.leaves();
      writes = !leaving->empty();
      waits_on = false;
    }
    const bool makes = !filled && requests.may_fill();
    if (makes && !writes) {
      co_await perform(making);
      if ((ec = making.error())) break;
      filled = true;
      continue;
    }
    if (!writes && !requests.expects()) co_return;
    both.write_buffers[0] =
        writes ? std::span<const std::byte>{*leaving} : std::span<const std::byte>{};
    if (c.in.holds_long_line()) {
      break_off(state, ec);
      co_return;
    }
    both.read_buffer = requests.expects() ? read_target(c) : std::span<std::byte>{};
    const auto limit = writes ? deadline::idle : deadline::reply;
    both.continues_deadline = waits_on && both.deadline == limit;
    both.deadline = limit;
    waits_on = true;
    both.starts[0] = both.waits_for[0] = makes ? &making : nullptr;
    const outcome moved = co_await both;
    if (makes) {
      filled = true;
      if ((ec = making.error())) break;
    }
    if (moved.written) writes = false;
    take_read(c, both.read_buffer, moved);
    write_error = moved.error;
    if (write_error) break;
    if (c.read_error) {
      ec = c.read_error;
      if (ec != errc::end_of_stream) co_return;
      blame(state, failure_origin::peer, errc::truncated, ec);
      co_return;
    }
  }
  if (ec) {
    state.origin = failure_origin::local;
    co_return;
  }
  // What the server said before its end, or before it took no more.
  while (requests.expects()) {
    const auto line = co_await read_line(c, deadline::linger, interruptible::no, ec);
    if (!ec) co_await requests.take(line, ec);
    if (ec) break;
  }
  if (ec != condition::refused) blame(state, failure_origin::stream, write_error, ec);
}

/// Sends all that `requests` has, and takes all replies. After an error the client is out of step.
template <class Requests>
flow<void> send_ahead(client_state& state, Requests& requests, std::error_code& ec) {
  std::array<byte_buffer, 2> buffers;
  std::exception_ptr thrown;
  try {
    co_await send_and_take(state, requests, buffers, ec);
  } catch (...) {
    thrown = std::current_exception();
  }
  action stopping;
  stopping.io = io_kind::cancel_write;
  co_await stopping;
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace filexfer::detail

#endif
