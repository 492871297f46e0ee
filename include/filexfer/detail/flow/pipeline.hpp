#ifndef FILEXFER_DETAIL_FLOW_PIPELINE_HPP
#define FILEXFER_DETAIL_FLOW_PIPELINE_HPP

// Pipelining (section 7 of the protocol): commands are sent before earlier ones have been answered,
// so that thousands of small files cost a few round trips.

#include <filexfer/detail/flow/client_state.hpp>
#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/error.hpp>

#include <algorithm>
#include <array>
#include <cassert>
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

/// The requests for `files`; each is a `Flight` from the time it is prepared until it has been
/// answered. Requests are prepared as work, while replies to earlier ones are read.
template <class Files, class Flight, class OnResult>
class pipelined_requests {
 public:
  /// Whether there are more requests to prepare, and the window has room for them.
  bool can_prepare() const noexcept { return !at_end_ && in_flight_.size() + batch_ <= window_; }

  /// Whether the server owes a reply.
  bool expects_reply() const noexcept { return !in_flight_.empty(); }

  /// Holds after each `on_sent`.
  bool within_window() const noexcept { return in_flight_.size() <= window_; }

  /// Called when the writing of what was prepared starts.
  void on_sent() {
    for (Flight& request : prepared_) in_flight_.push_back(std::move(request));
    prepared_.clear();
  }

  /// Called when no whole reply is left in the buffer.
  flow<void> on_drained(std::error_code&) { co_return; }

  /// Work that was started and not waited for yet; null if there is none. Once it has ended,
  /// `on_work_ended` is called.
  work_base* pending_work() noexcept { return nullptr; }
  flow<void> on_work_ended(std::error_code&) { co_return; }

  /// Called at the end, also after an error, but not after an exception.
  flow<void> finish(std::error_code&) { co_return; }

 protected:
  /// `client_options::max_in_flight` is the window; up to half of it is sent at once.
  pipelined_requests(client_state& state, Files& files, OnResult& on_result)
      : state_{state},
        on_result_{on_result},
        window_{std::max<std::size_t>(state.options.max_in_flight, 1)},
        batch_{std::max<std::size_t>(window_ / 2, 1)},
        files_{files} {}
  ~pipelined_requests() = default;

  /// The next element; nullptr at the end.
  auto* next() {
    if (!next_) next_.emplace(std::begin(files_));
    else if (std::exchange(advances_, false)) ++*next_;
    at_end_ = *next_ == std::end(files_);
    return at_end_ ? nullptr : &**next_;
  }

  /// Makes the following call of `next` move to the next element.
  void advance() noexcept { advances_ = true; }

  bool batch_is_full() const noexcept { return prepared_.size() >= batch_; }

  /// Fills the batch: `prepare_one(element)` appends the lines of a request to `out`, and returns
  /// its `Flight`. It is sent soon, as the range may take its time for each element: it may hash
  /// them.
  template <class PrepareOne>
  void prepare_batch(const byte_buffer& out, PrepareOne prepare_one) {
    constexpr std::size_t enough_bytes = std::size_t{16} * 1024;
    while (!batch_is_full() && out.size() < enough_bytes) {
      auto* const file = next();
      if (file == nullptr) return;
      prepared_.push_back(prepare_one(*file));
      advance();
    }
  }

  Flight pop_front() {
    Flight front = std::move(in_flight_.front());
    in_flight_.pop_front();
    return front;
  }

  void report_front(std::error_code error) {
    const Flight front = pop_front();
    if (!error) state_.origin = failure_origin::none;
    front.report(on_result_, error);
    state_.origin = failure_origin::none;
  }

  /// Reports the requests at the front that were not sent: those with an error.
  void report_unsent() {
    while (!in_flight_.empty() && in_flight_.front().error) {
      state_.origin = failure_origin::local;
      report_front(in_flight_.front().error);
    }
  }
  client_state& state_;
  OnResult& on_result_;
  std::vector<Flight> prepared_;  ///< Not yet sent. Used by the preparing work, or while none runs.
  std::deque<Flight> in_flight_;

 private:
  const std::size_t window_;
  const std::size_t batch_;
  Files& files_;
  std::optional<decltype(std::begin(std::declval<Files&>()))> next_;
  bool advances_ = false;
  bool at_end_ = false;
};

/// Checks a reply to a command that was sent together with its argument. If the command itself was
/// refused, it is unknown how the server interprets the argument.
inline void check_pipelined_reply(client_state& state, std::string_view line, bool prompt_received,
                                  std::error_code& ec) {
  check_reply(state, line, prompt_received ? reply_to::argument : reply_to::command, ec);
  state.synchronized = state.synchronized && prompt_received;
}

/// Reports the result of a request, if it is known. Returns whether another request may follow.
template <class Report>
bool report_and_continue(client_state& state, std::error_code& ec, Report report) {
  const bool lost = ec && !state.synchronized;
  if (lost && state.origin != failure_origin::local) return false;
  report();
  if (lost) return false;
  ec.clear();
  state.origin = failure_origin::none;
  state.synchronized = false;
  return true;
}

/// Sends what `requests` prepares, and passes it the replies; `buffers` must live until no write is
/// pending any more.
///
/// `requests` has the functions of `pipelined_requests`, and `prepare(buffer)`, which appends the
/// next requests, and the flow `on_reply(line, ec)` for each reply.
template <class Requests>
flow<void> pump_pipeline(client_state& state, Requests& requests,
                         std::array<byte_buffer, 2>& buffers, std::error_code& ec) {
  connection& c = state.connection;
  byte_buffer* sending = &buffers[0];
  byte_buffer* preparing = &buffers[1];
  work preparation{[&](std::error_code&) {
    preparing->clear();
    requests.prepare(*preparing);
  }};
  bool prepared = false;
  bool writing = false;
  bool continues_wait = false;  // that of the previous action, under its deadline
  action step;
  step.io = io_kind::read_write;
  std::error_code write_error;
  for (;;) {
    while (requests.expects_reply()) {  // further lines answer no request
      const auto line = c.in.take_line();
      if (!line) break;
      co_await requests.on_reply(*line, ec);
      if (ec) co_return;
      continues_wait = writing;
    }
    co_await requests.on_drained(ec);
    if (ec) co_return;
    if (!writing && prepared) {
      std::swap(sending, preparing);
      prepared = false;
      requests.on_sent();
      assert(requests.within_window());
      writing = !sending->empty();
      continues_wait = false;
    }
    const bool prepares = !prepared && requests.can_prepare();
    if (prepares && !writing) {
      co_await perform(preparation);
      if ((ec = preparation.error())) break;
      prepared = true;
      continue;
    }
    if (!writing && !requests.expects_reply()) co_return;
    step.write_buffers[0] =
        writing ? std::span<const std::byte>{*sending} : std::span<const std::byte>{};
    if (c.in.holds_long_line()) {
      state.last_reply.clear();
      fail_protocol(state, ec);
      co_return;
    }
    make_room(c);
    step.read_buffer = requests.expects_reply() ? read_write_target(c) : std::span<std::byte>{};
    const auto limit = writing ? deadline::idle : deadline::reply;
    step.continues_deadline = continues_wait && step.deadline == limit;
    step.deadline = limit;
    continues_wait = true;
    step.starts[blocking] = step.waits_for[blocking] = prepares ? &preparation : nullptr;
    step.or_work = !writing && !prepares && requests.pending_work() != nullptr;
    if (step.or_work) step.waits_for[blocking] = requests.pending_work();
    const outcome result = co_await step;
    if (prepares) {
      prepared = true;
      if ((ec = preparation.error())) break;
    }
    if (result.work_ended) co_await requests.on_work_ended(ec);
    if (ec) break;
    if (result.written) writing = false;
    take_read(c, step.read_buffer, result);
    write_error = result.error;
    if (write_error) break;
    if (c.read_error) {
      ec = c.read_error;
      if (ec != errc::end_of_stream) co_return;
      fail(state, failure_origin::peer, errc::truncated, ec);
      co_return;
    }
  }
  if (ec) {
    state.origin = failure_origin::local;
    co_return;
  }
  // Replies that the server sent before it closed, or stopped reading.
  while (requests.expects_reply()) {
    const auto line = co_await read_line(c, deadline::linger, interruptible::no, ec);
    if (!ec) co_await requests.on_reply(line, ec);
    if (ec) break;
  }
  if (ec != condition::refused) fail(state, failure_origin::stream, write_error, ec);
}

/// Sends all of `requests`, and reads all replies. After an error the client is not synchronized.
template <class Requests>
flow<void> run_pipeline(client_state& state, Requests& requests, std::error_code& ec) {
  std::array<byte_buffer, 2> buffers;
  std::exception_ptr thrown;
  try {
    co_await pump_pipeline(state, requests, buffers, ec);
    std::error_code failed;
    co_await requests.finish(failed);
    if (!ec) ec = failed;
  } catch (...) {
    thrown = std::current_exception();
  }
  action ending;
  ending.io = io_kind::cancel_write;
  ending.waits_for[blocking] = requests.pending_work();
  co_await ending;
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace filexfer::detail

#endif
