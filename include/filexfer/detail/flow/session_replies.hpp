#ifndef FILEXFER_DETAIL_FLOW_SESSION_REPLIES_HPP
#define FILEXFER_DETAIL_FLOW_SESSION_REPLIES_HPP

// What the commands of a session share: reading lines, replies, refusals, and requests that wait to
// be carried out together.
//
// Replies are buffered, and written before the session waits for its peer: a client that pipelines
// its commands is answered in few writes, and never waits for a reply that was not written.

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
#include <exception>
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

/// Bytes of replies, including small files, that are buffered before they are written.
inline constexpr std::size_t reply_buffer_size = std::size_t{64} * 1024;
/// Capacity of the reply buffer that an idle connection keeps.
inline constexpr std::size_t kept_reply_size = 1024;

template <class Store, hasher Hasher>
class session_replies {
 protected:
  using digest_type = typename Hasher::digest_type;

  using pending_upload = detail::pending_upload<Store, digest_type>;
  using pending_download = detail::pending_download<Store, digest_type>;
  using pending_request = detail::pending_request<Store, digest_type>;

  session_replies(session_state& state, Store& store) noexcept : state_{state}, store_{store} {}
  ~session_replies() = default;

  detail::connection& connection() noexcept { return state_.connection; }

  /// The buffer for the next reply.
  std::string& replies() noexcept {
    return pending_.empty() ? out_ : pending_.back().later_replies;
  }

  /// Writes the buffered replies; if that fails, closes.
  flow<void> flush(std::error_code& ec) {
    co_await answer_pending(ec);
    if (!ec) co_await write_replies(ec);
  }

  /// Reads a line, without its end; valid until the next read. Nothing if the connection is over,
  /// with `ec` clear if that was orderly.
  flow<std::optional<std::string_view>> next_line(interruptible stop, std::error_code& ec) {
    const bool must_wait = !connection().in.holds_line();
    if (connection().in.empty()) connection().in.narrow();
    if (must_wait || out_.size() >= reply_buffer_size) co_await flush(ec);
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
  /// once it is answered, and that is now unless more can be expected to follow at once.
  template <class Request>
  flow<void> append_pending(Request& request, bool more_follow, std::error_code& ec) {
    ec.clear();
    if constexpr (requires { request.bytes; }) pending_bytes_ += request.bytes.size();
    pending_.push_back({event_, std::move(request)});
    reports_later_ = true;
    const bool room_left =
        pending_.size() < max_pending_requests && pending_bytes_ < max_pending_bytes;
    if (!more_follow || !room_left || !connection().in.holds_line()) co_await answer_pending(ec);
  }

  /// Carries out the pending requests, and appends their replies. `ec` is set if a file could not
  /// be sent; the connection is closed then.
  flow<void> answer_pending(std::error_code& ec) {
    ec.clear();
    if (pending_.empty()) co_return;
    std::size_t next = 0;
    work carrying_out{[&](std::error_code&) {
      if (pending_[next].upload()) {
        carry_out_uploads(store_, std::span{pending_}.subspan(next));
        while (next < pending_.size() && pending_[next].done) ++next;
        return;
      }
      const auto end = std::chrono::steady_clock::now() + pending_slice;
      std::size_t reply_bytes = 0;
      while (next < pending_.size() && pending_[next].download() &&
             reply_bytes < reply_buffer_size) {
        pending_request& request = pending_[next];
        request.carry_out_download(store_);
        if (!request.done) break;
        ++next;
        reply_bytes += request.reply.size();
        if (request.large_download() || std::chrono::steady_clock::now() >= end) break;
      }
    }};
    const auto is_locked = [&] {
      return !carrying_out.error() && next == answered_ && must_repeat(pending_[next].failed);
    };
    while (answered_ < pending_.size() && !ec) {
      co_await perform_unlocked(carrying_out, is_locked);
      if (carrying_out.error()) {
        fail_pending(carrying_out.error());
        break;
      }
      if (next == answered_) ++next;  // the lock was not released in time
      for (; answered_ < next && !ec; ++answered_) co_await answer(pending_[answered_], ec);
      if (!ec && out_.size() >= reply_buffer_size) co_await write_replies(ec);
    }
    if (ec) {
      fail_pending(ec);
      if (!in_command_) reports_later_ = true;
    }
    forget_pending();
  }

  /// Performs `piece`, and repeats it with pauses while `is_locked()`, that is, while somebody else
  /// holds a lock that the store needs; but not for longer than a client waits for a reply. No
  /// thread waits meanwhile.
  template <class IsLocked>
  flow<void> perform_unlocked(work_base& piece, IsLocked is_locked) {
    constexpr std::chrono::milliseconds longest_pause{50};
    std::chrono::milliseconds pause{1};
    std::chrono::milliseconds waited{0};
    co_await perform(piece);
    while (is_locked() && waited < state_.options.limits.reply) {
      co_await wait(pause);
      waited += pause;
      pause = std::min(2 * pause, longest_pause);
      co_await perform(piece);
    }
  }

  /// Reports all pending requests as failed, and drops them.
  void fail_pending(std::error_code why) {
    for (; answered_ < pending_.size(); ++answered_) {
      pending_[answered_].failed = why;
      reject_and_report(pending_[answered_]);
    }
    forget_pending();
  }

  session_state& state_;
  Store& store_;
  session_event event_;
  bool in_command_ = false;     ///< False while it waits for a command.
  bool reports_later_ = false;  ///< `answer_pending` reports the command's end.
  std::string out_;             ///< Replies to the commands before the pending ones.

 private:
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

  flow<void> answer(pending_request& request, std::error_code& ec) {
    if (request.failed) {
      out_ += format_error(to_refusal(request.failed), text_of(to_refusal(request.failed))) + '\n';
      reject_and_report(request);
    } else {
      out_ += request.reply;
      if (pending_download* const large = request.large_download()) {
        co_await send(*large, request.event, ec);
      }
      if (ec) request.event.error = ec;
      report(request.event);
    }
    out_ += request.later_replies;
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
    download.file.reset();
    out_ = {};
    event.bytes = sent.bytes;
    event.cause = sent.local_error;
    ec = sent.local_error ? sent.local_error : sent.stream_error;
    if (ec) co_await close(connection());
  }

  flow<void> write_replies(std::error_code& ec) {
    ec.clear();
    if (out_.empty()) co_return;
    co_await write_text(connection(), out_, ec);
    out_.clear();
    if (out_.capacity() > kept_reply_size) out_ = {};
    if (ec) co_await close(connection());
  }

  void reject_and_report(pending_request& request) {
    request.event.error = to_refusal(request.failed);
    request.event.cause = request.failed;
    report(request.event);
  }

  void report(const session_event& event) {
    if (state_.on_end) state_.on_end(event);
  }

  void forget_pending() noexcept {
    pending_.clear();
    pending_.shrink_to_fit();
    answered_ = 0;
    pending_bytes_ = 0;
  }

  std::vector<pending_request> pending_;
  std::size_t answered_ = 0;       ///< Of these.
  std::size_t pending_bytes_ = 0;  ///< Of uploads among these.
};

}  // namespace filexfer::detail

#endif
