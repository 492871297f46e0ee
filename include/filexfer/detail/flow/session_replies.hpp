#ifndef FILEXFER_DETAIL_FLOW_SESSION_REPLIES_HPP
#define FILEXFER_DETAIL_FLOW_SESSION_REPLIES_HPP

// What the commands of a session share: reading lines, replies, refusals, and uploads that wait to
// be committed together.
//
// Replies are buffered, and written before the session waits for its peer: a client that pipelines
// its commands is answered in few writes, and never waits for a reply that was not written.

#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/flow/transfer.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/options.hpp>
#include <filexfer/refusal.hpp>
#include <filexfer/session_event.hpp>

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

  /// An upload that was received completely and verified, and is not committed yet.
  struct pending_commit {
    std::optional<typename Store::upload> upload;
    digest_type id;
    session_event event;
    std::error_code failed{};
    errc refusal{};
    std::string later_replies{};  ///< To the commands after it.
  };

  session_replies(session_state& state, Store& store) noexcept : state_{state}, store_{store} {}
  ~session_replies() = default;

  detail::connection& connection() noexcept { return state_.connection; }

  /// The buffer for the next reply.
  std::string& replies() noexcept {
    return pending_commits_.empty() ? out_ : pending_commits_.back().later_replies;
  }

  /// Writes the buffered replies; if that fails, closes.
  flow<void> flush(std::error_code& ec) {
    ec.clear();
    co_await commit_pending();
    if (out_.empty()) co_return;
    co_await write_text(connection(), out_, ec);
    out_.clear();
    if (out_.capacity() > kept_reply_size) out_ = {};
    if (ec) co_await close(connection());
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
    co_await commit_pending();
    out_ += format_error(refusal, text_of(refusal)) + '\n';
    std::error_code ignored;
    co_await write_text(connection(), out_, ignored);
    co_await end_connection(connection(), ignored);
    ec = refusal;
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

  /// Commits the pending uploads, and appends their final replies.
  flow<void> commit_pending() {
    if (pending_commits_.empty()) co_return;
    std::size_t next = 0;
    work committing{[&](std::error_code&) {
      const auto end = std::chrono::steady_clock::now() + commit_slice;
      do {
        commit(pending_commits_[next++]);
      } while (next < pending_commits_.size() && std::chrono::steady_clock::now() < end);
    }};
    while (next < pending_commits_.size() && !committing.error()) co_await perform(committing);
    for (; next < pending_commits_.size(); ++next)
      pending_commits_[next].failed = committing.error();
    std::string final_replies;
    for (pending_commit& entry : pending_commits_) {
      if (entry.failed) reject_commit(entry, entry.failed);
      final_replies +=
          entry.failed ? format_error(entry.refusal, text_of(entry.refusal)) : entry.id.to_string();
      final_replies.append("\n") += entry.later_replies;
    }
    out_ += final_replies;
    report_pending();
  }

  /// Reports all pending uploads as failed.
  void fail_pending(std::error_code why) {
    for (pending_commit& entry : pending_commits_) reject_commit(entry, why);
    report_pending();
  }

  session_state& state_;
  Store& store_;
  session_event event_;
  bool in_command_ = false;     ///< False while it waits for a command.
  bool reports_later_ = false;  ///< `commit_pending` will report the command's end.
  std::vector<pending_commit> pending_commits_;
  std::string out_;  ///< Replies to the commands before the pending uploads.

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

  static void reject_commit(pending_commit& entry, std::error_code why) {
    entry.failed = why;
    entry.refusal = to_refusal(why);
    entry.event.error = entry.refusal;
    entry.event.cause = why;
  }

  static void commit(pending_commit& entry) {
    try {
      entry.upload->commit(entry.id, entry.failed);
    } catch (...) {
      entry.failed = error_of(std::current_exception());
    }
    entry.upload.reset();
  }

  /// Reports the results of the pending uploads, and removes them.
  void report_pending() {
    for (const pending_commit& entry : pending_commits_) {
      if (state_.on_end) state_.on_end(entry.event);
    }
    pending_commits_.clear();
    pending_commits_.shrink_to_fit();
  }
};

}  // namespace filexfer::detail

#endif
