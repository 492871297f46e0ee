#ifndef FILEXFER_DETAIL_FLOW_SESSION_REPLIES_HPP
#define FILEXFER_DETAIL_FLOW_SESSION_REPLIES_HPP

// What the commands of a session share: reading lines, replies, refusals, and requests that wait to
// be carried out together.
//
// Replies are buffered, and written before the session waits for its peer: a client that pipelines
// its commands is answered in few writes, and never waits for a reply that was not written. While
// one group of requests is carried out, the next one is received.

#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/flow/session_pending.hpp>
#include <filexfer/detail/flow/transfer.hpp>
#include <filexfer/access_request.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/options.hpp>
#include <filexfer/refusal.hpp>
#include <filexfer/session_event.hpp>
#include <filexfer/storage.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace filexfer::detail {

/// The state of a session. `on_start` is called when a command line has arrived, `on_end` when that
/// command was answered or has failed.
struct session_state {
  detail::connection connection;
  session_options options;
  /// Asks the owner whether a request is allowed; empty if all are.
  std::function<void(const access_request&, access_answer)> authorize;
  std::function<void()> on_start;
  session_observer on_end;
};

/// Bytes of replies that wait behind a pending request, after which no more requests are read.
inline constexpr std::size_t max_later_replies = std::size_t{4} * 1024;
/// Capacity of the reply buffer that an idle connection keeps.
inline constexpr std::size_t kept_reply_size = 1024;

template <class Store, hasher Hasher>
class session_replies {
 protected:
  using digest_type = typename Hasher::digest_type;

  using pending_upload = detail::pending_upload<Store, digest_type>;
  using pending_download = detail::pending_download<Store, digest_type>;
  using pending_query = detail::pending_query<digest_type>;
  using pending_request = detail::pending_request<Store, digest_type>;

  session_replies(session_state& state, Store& store) noexcept : state_{state}, store_{store} {}
  ~session_replies() = default;

  detail::connection& connection() noexcept { return state_.connection; }

  /// The buffer for the next reply.
  std::string& replies() noexcept {
    if (!pending_.empty()) return pending_.back().later_replies;
    return carried_.empty() ? out_ : carried_.back().later_replies;
  }

  /// Writes the buffered replies; if that fails, closes.
  flow<void> flush(std::error_code& ec) {
    co_await answer_pending(ec);
    if (!ec) co_await write_replies(ec);
  }

  /// Reads a line, without its end; valid until the next read. Nothing if the connection is over,
  /// with `ec` clear if that was orderly.
  flow<std::optional<std::string_view>> next_line(interruptible stop, std::error_code& ec) {
    line_buffer& in = connection().in;
    if (in.empty()) in.narrow();
    ec.clear();
    while (can_overlap() && !in.has_line() && !ec) co_await read_or_answer(stop, ec);
    if (!ec && (!in.holds_line() || has_many_replies())) co_await flush(ec);
    if (ec) co_return std::nullopt;
    const std::string_view line = co_await read_line(connection(), deadline::line, stop, ec);
    if (!ec) co_return line;
    const bool ended = ec == errc::end_of_stream;
    co_await end_after(ec);
    if (ended && in_command_) ec = errc::truncated;
    co_return std::nullopt;
  }

  /// Answers with an ERROR line after which the next line is a command; clears `ec`.
  void refuse(errc refusal, std::error_code cause, std::error_code& ec) {
    event_.error = refusal;
    event_.cause = cause;
    replies() += format_error(refusal, text_of(refusal)) + '\n';
    ec.clear();
  }

  /// Answers with an ERROR line and ends the connection; `ec` is the refusal.
  flow<void> refuse_and_close(errc refusal, std::error_code& ec) {
    event_.error = refusal;
    std::error_code failed;
    co_await answer_pending(failed);
    out_ += format_error(refusal, text_of(refusal)) + '\n';
    std::error_code ignored;
    co_await write_text(connection(), out_, ignored);
    co_await end_connection(connection(), ignored);
    ec = refusal;
  }

  /// The error behind the refusal that reports it; clear if it is that refusal.
  static std::error_code cause_of(std::error_code why) noexcept {
    return why == to_refusal(why) ? std::error_code{} : why;
  }

  std::string text_of(errc refusal) const {
    std::optional<std::uint64_t> limit;
    if (refusal == errc::too_large) limit = state_.options.max_size;
    if (refusal == errc::line_too_long) limit = max_line_length;
    std::string text = make_error_code(refusal).message();
    if (limit) text.append(": the limit is ").append(std::to_string(*limit)) += " octets";
    return text;
  }

  /// Sends the prompt and reads the line that answers it, as `next_line`.
  flow<std::optional<std::string_view>> ask(std::string_view prompt, std::error_code& ec) {
    replies().append(prompt) += '\n';
    return next_line(interruptible::no, ec);
  }

  /// Asks the owner, if `state_.authorize` is set, whether a request is allowed; `ec` is the
  /// refusal.
  flow<void> authorize(const access_request& request, std::error_code& ec) {
    const external_call call = [&](access_answer answer) {
      state_.authorize(request, std::move(answer));
    };
    action asking;
    asking.io = io_kind::call;
    asking.deadline = deadline::reply;
    asking.call = &call;
    const outcome answered = co_await asking;
    ec = answered.error;
  }

  /// Takes over a request, whose reply follows those to the ones before it. Its end is reported
  /// once it is answered. It is carried out now, unless more can be expected to follow at once, or
  /// others are being carried out.
  template <class Request>
  flow<void> append_pending(Request& request, bool more_follow, std::error_code& ec) {
    ec.clear();
    if constexpr (requires { request.bytes; }) pending_bytes_ += request.bytes.size();
    pending_.push_back({event_, std::move(request)});
    reports_later_ = true;
    const bool room_left =
        pending_.size() < max_pending_requests && pending_bytes_ < max_pending_bytes;
    const bool can_wait = connection().in.holds_line() || can_overlap();
    if (more_follow && room_left && can_wait) co_return;
    if (more_follow) co_await carry_out_pending(ec);
    else co_await answer_pending(ec);
  }

  /// Carries out the pending requests, and appends their replies. `ec` is set if a file could not
  /// be sent; the connection is closed then.
  flow<void> answer_pending(std::error_code& ec) {
    co_await answer_carried(ec);
    while (!ec && !pending_.empty()) {
      co_await carry_out_pending(ec);
      co_await answer_carried(ec);
    }
  }

  /// Whether requests are being carried out, so that the peer can be waited for meanwhile.
  bool can_overlap() noexcept {
    return !carried_.empty() && !connection().read_error && !has_many_replies();
  }

  /// Waits for the peer's next bytes, or until the requests that are being carried out are: then
  /// answers them, and has those that have arrived meanwhile carried out. Only if `can_overlap()`.
  /// If that fails, closes.
  flow<void> read_or_answer(interruptible stop, std::error_code& ec) {
    ec.clear();
    if (holds_answers_) co_await write_replies(ec);
    if (ec) co_return;
    const bool ended =
        co_await read_or_wait_for(connection(), &carrying_out_, deadline::none, stop, ec);
    if (ec) co_await close(connection());  // the operation was cancelled
    if (ec || !ended) co_return;
    co_await answer_carried(ec);
    if (!ec) co_await write_replies(ec);
    if (!ec) co_await carry_out_pending(ec);
  }

  /// The work that carries out requests; it may have ended.
  work_base& carrying_out() noexcept { return carrying_out_; }

  /// Performs `piece`, and repeats it with pauses while `is_locked()`, that is, while somebody else
  /// holds a lock that the store needs; but not for longer than a client waits for a reply. No
  /// thread waits meanwhile.
  template <class IsLocked>
  flow<void> perform_unlocked(work_base& piece, IsLocked is_locked) {
    co_await perform(piece);
    co_await repeat_unlocked(piece, is_locked);
  }

  /// As `perform_unlocked`, after `piece` was performed once.
  template <class IsLocked>
  flow<void> repeat_unlocked(work_base& piece, IsLocked is_locked) {
    constexpr std::chrono::milliseconds longest_pause{50};
    std::chrono::milliseconds pause{1};
    std::chrono::milliseconds waited{0};
    while (is_locked() && waited < state_.options.limits.reply) {
      co_await wait(pause);
      waited += pause;
      pause = std::min(2 * pause, longest_pause);
      co_await perform(piece);
    }
  }

  /// Reports all pending requests as failed, and drops them. None is being carried out.
  void fail_pending(std::error_code why) {
    const auto fail = [&](pending_request& request) {
      request.failed = why;
      report_end(request);
    };
    for (; answered_ < carried_.size(); ++answered_) fail(carried_[answered_]);
    for (pending_request& request : pending_) fail(request);
    forget(carried_);
    forget(pending_);
    pending_bytes_ = 0;
  }

  session_state& state_;
  Store& store_;
  session_event event_;
  bool in_command_ = false;     ///< False while it waits for a command.
  bool reports_later_ = false;  ///< `answer_carried` reports the command's end.
  std::string out_;             ///< Replies to the commands before those in `carried_`.

 private:
  bool has_many_replies() noexcept {
    std::string& last = replies();
    return out_.size() >= reply_buffer_size || (&last != &out_ && last.size() >= max_later_replies);
  }

  /// Ends the connection after a line could not be read; `ec` says why.
  flow<void> end_after(std::error_code& ec) {
    const std::error_code why = ec;
    const bool between_lines = connection().in.empty();
    if (why == errc::line_too_long) {
      co_await refuse_and_close(errc::line_too_long, ec);
    } else if (why == errc::timed_out && between_lines) {
      co_await refuse_and_close(errc::timeout, ec);
    } else if (why == errc::shutting_down) {
      co_await refuse_and_close(errc::shutting_down, ec);
      ec.clear();
    } else {
      co_await close(connection());
      if (why == errc::end_of_stream) ec.clear();
    }
  }

  /// Starts to carry out the pending requests, once those before them are answered.
  flow<void> carry_out_pending(std::error_code& ec) {
    co_await answer_carried(ec);
    if (ec || pending_.empty()) co_return;
    carried_.swap(pending_);
    pending_bytes_ = 0;
    done_ = answered_ = 0;
    co_await start(carrying_out_);
  }

  /// Appends the replies to the requests that are being carried out.
  flow<void> answer_carried(std::error_code& ec) {
    ec.clear();
    if (carried_.empty()) co_return;
    const auto is_locked = [&] {
      return !carrying_out_.error() && done_ == answered_ && must_repeat(carried_[done_].failed);
    };
    co_await wait_for(&carrying_out_);
    for (;;) {
      co_await repeat_unlocked(carrying_out_, is_locked);
      ec = carrying_out_.error();  // there is no memory, or the operation was cancelled
      if (ec) {
        co_await close(connection());
        break;
      }
      if (done_ == answered_) ++done_;  // the lock was not released in time
      for (; answered_ < done_ && !ec; ++answered_) co_await answer(carried_[answered_], ec);
      if (!ec && out_.size() >= reply_buffer_size) co_await write_replies(ec);
      if (ec || answered_ == carried_.size()) break;
      co_await perform(carrying_out_);
    }
    if (ec) {
      fail_pending(ec);
      if (!in_command_) reports_later_ = true;
    }
    forget(carried_);
  }

  flow<void> answer(pending_request& request, std::error_code& ec) {
    if (request.failed) {
      out_ += format_error(to_refusal(request.failed), text_of(to_refusal(request.failed))) + '\n';
    } else {
      out_ += request.reply;
      if (pending_download* const large = request.large_download()) {
        co_await send(*large, request.event, ec);
      }
      if (ec) request.event.error = ec;
    }
    report_end(request);
    out_ += request.later_replies;
    holds_answers_ = true;
  }

  /// Writes the replies and then a file. After a failure the connection is closed.
  flow<void> send(pending_download& download, session_event& event, std::error_code& ec) {
    auto& reader = download.file->reader;
    transfer sent;
    bool by_sendfile = false;
    if constexpr (descriptor_source<typename Store::reader>) {
      by_sendfile = connection().sends_files;
      if (by_sendfile) {
        const file_segment range{reader.native_handle(), download.wanted.offset.value_or(0),
                                 download.count};
        sent = co_await send_file_bytes(connection(), as_bytes(out_), reader, range);
      }
    }
    if (!by_sendfile) {
      const auto ignore = [](std::span<const std::byte>) {};
      sent = co_await send_bytes(connection(), as_bytes(out_), reader, ignore, download.count,
                                 watch::no);
    }
    out_ = {};
    event.bytes = sent.bytes;
    event.cause = sent.local_error;
    ec = sent.local_error ? sent.local_error : sent.stream_error;
    if (ec) co_await close(connection());
    work closing{[&](std::error_code&) { download.file.reset(); }};  // may free a removed file
    co_await perform(closing);
  }

  flow<void> write_replies(std::error_code& ec) {
    ec.clear();
    if (out_.empty()) co_return;
    co_await write_text(connection(), out_, ec);
    out_.clear();
    holds_answers_ = false;
    if (out_.capacity() > kept_reply_size) out_ = {};
    if (ec) co_await close(connection());
  }

  void report_end(pending_request& request) {
    if (request.failed) {
      request.event.error = to_refusal(request.failed);
      request.event.cause = request.failed;
    }
    if (state_.on_end) state_.on_end(request.event);
  }

  /// Frees the memory, too, which an idle connection does not need.
  static void forget(std::vector<pending_request>& requests) noexcept {
    requests.clear();
    requests.shrink_to_fit();
  }

  struct carry_out_call {
    session_replies& session;
    void operator()(std::error_code&) const {
      session.done_ +=
          carry_out_first(session.store_, std::span{session.carried_}.subspan(session.done_));
    }
  };

  std::vector<pending_request> pending_;
  std::size_t pending_bytes_ = 0;  ///< Of uploads among these.

  std::vector<pending_request> carried_;  ///< By `carrying_out_`, until they are answered.
  std::size_t done_ = 0;                  ///< Of these; not to be used while that work runs.
  std::size_t answered_ = 0;              ///< Of these.
  bool holds_answers_ = false;            ///< `out_` has replies to such requests.
  work<carry_out_call> carrying_out_{{*this}};
};

}  // namespace filexfer::detail

#endif
