#ifndef FILEXFER_DETAIL_FLOW_SESSION_FLOW_HPP
#define FILEXFER_DETAIL_FLOW_SESSION_FLOW_HPP

// The server side of the protocol: one connection, from its first line to its close.
//
// Replies are buffered, and written before the session waits for its peer: a client that pipelines
// its commands is answered in few writes, and never waits for a reply that was not written.

#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/flow/transfer.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/options.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/session_event.hpp>
#include <filexfer/storage.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
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
/// Entries, listed or not, that one piece of work visits.
inline constexpr std::size_t list_batch_entries = 1024;

/// How often an upload that takes over another's token checks whether that one has released it.
inline constexpr std::chrono::milliseconds takeover_pause{50};

template <class Store, hasher Hasher>
class session_flow {
  using digest_type = typename Hasher::digest_type;
  static constexpr bool resumes = resumable_store<Store, digest_type>;

 public:
  session_flow(session_state& state, Store& store) noexcept : state_{state}, store_{store} {}

  /// Serves the connection to its end. `ec` is clear if that was orderly.
  flow<void> serve(std::error_code& ec) {
    bool connected = true;
    while (connected) {
      event_ = {};
      in_command_ = false;
      reports_later_ = false;
      bool threw = false;
      try {
        connected = co_await serve_line(ec);
      } catch (...) {
        ec = error_of(std::current_exception());
        connected = false;
        threw = true;
      }
      if (threw) {
        action closing;
        closing.io = io_kind::close;
        co_await closing;
        fail_pending(ec);
      }
      if (ec && !event_.error) event_.error = ec;
      if (state_.on_end && (in_command_ || ec) && !reports_later_) state_.on_end(event_);
    }
  }

 private:
  detail::connection& connection() noexcept { return state_.connection; }

  /// Reads a command line and answers it; false if the connection is over.
  flow<bool> serve_line(std::error_code& ec) {
    const auto line = co_await next_line(interruptible::yes, ec);
    if (!line) co_return false;
    in_command_ = true;
    if (state_.on_start) state_.on_start();
    if (!is_clean_line(*line)) ec = errc::bad_request;
    const command_line parsed = ec ? command_line{} : parse_command(*line, ec);
    if (!ec) {
      event_.verb = parsed.verb;
      co_await answer(parsed, ec);
    } else if (ec == errc::unknown_command) {
      refuse(errc::unknown_command, {}, ec);
    } else {
      co_await refuse_and_close(errc::bad_request, ec);
    }
    co_return !ec;
  }

  flow<void> answer(const command_line& line, std::error_code& ec) {
    if (line.verb != command::upload) co_await commit_pending();
    switch (line.verb) {
      case command::list_files: co_await answer_list(line.params, ec); break;
      case command::upload: co_await answer_upload(ec); break;
      case command::download: co_await answer_download(ec); break;
      case command::features: answer_features(); break;
    }
  }

  // ------------------------------------------------------------------------------ lines and refusals

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

  /// Sends the prompt and reads the line that answers it, as `next_line`.
  flow<std::optional<std::string_view>> ask(std::string_view prompt, std::error_code& ec) {
    replies().append(prompt) += '\n';
    return next_line(interruptible::no, ec);
  }

  // ------------------------------------------------------------------------------------------- lists

  flow<void> answer_list(const parameters& params, std::error_code& ec) {
    const list_request wanted = parse_list_request(params, ec);
    if (ec == errc::bad_request) {
      co_await refuse_and_close(errc::bad_request, ec);
      co_return;
    }
    if (ec) {
      refuse(to_refusal(ec), {}, ec);
      co_return;
    }
    std::optional<typename Store::cursor> cursor;
    bool ended = false;
    work listing{[&](std::error_code& failed) {
      if (!cursor) cursor.emplace(store_.list(failed));
      std::size_t seen = 0;
      while (!failed && !ended && out_.size() < reply_buffer_size && ++seen <= list_batch_entries) {
        auto file = cursor->next(failed);
        ended = !file;
        if (file && file->name.starts_with(wanted.prefix)) {
          if (!wanted.mtime) file->modified.reset();
          out_ += format_entry(*file) + '\n';
          ++event_.size;
        }
      }
    }};
    while (!ended) {
      co_await perform(listing);
      if (listing.error()) {
        const errc refusal = to_refusal(listing.error());
        event_.error = refusal;
        event_.cause = listing.error();
        out_ += format_error(refusal, text_of(refusal)) + '\n';
        ended = true;
      } else if (ended) {
        if (event_.size == 0) out_.append(no_files_words) += '\n';
        out_ += '\n';
      }
      if (!ended) co_await flush(ec);
      if (ec) co_return;
    }
  }

  void answer_features() {
    server_features features{protocol_version, std::string{Hasher::name()},
                             state_.options.max_size};
    features.resume = resumes;
    features.have = features.nowait = features.mtime = features.prefix = true;
    out_ += format_features(features);
  }

  // ----------------------------------------------------------------------------------------- uploads

  flow<void> answer_upload(std::error_code& ec) {
    const auto line = co_await ask(upload_prompt, ec);
    if (!line) co_return;
    auto details = parse_upload_details<digest_type>(*line, ec);
    if (!is_clean_line(*line)) ec = errc::bad_request;
    event_.name = details.name;
    event_.size = details.size;
    if (details.nowait && (ec == errc::bad_size || ec == errc::bad_request)) {
      co_await refuse_and_close(to_refusal(ec), ec);  // where the bytes end is unknown
      co_return;
    }
    if (!ec && state_.options.access == access::read_only) ec = errc::read_only;
    if (!ec && details.size > state_.options.max_size.value_or(max_file_size)) ec = errc::too_large;
    details.nowait = details.nowait && !details.have;
    if (ec) {
      co_await refuse_upload(details, to_refusal(ec), {}, ec);
      co_return;
    }
    // With `nowait` the bytes follow in any case: they are checked once they have arrived, and the
    // upload is not resumed.
    const auto expected = details.nowait ? std::exchange(details.id, std::nullopt) : details.id;

    std::optional<typename Store::upload> upload;
    bool held = false;
    work opening{[&](std::error_code& failed) {
      if (details.id) {
        held = store_.add_name(*details.id, details.size, details.name, details.modified, failed);
      }
      if (failed || held) return;
      if (details.have) failed = errc::not_found;
      else upload = begin_upload(details, failed);
    }};
    if (details.id || !details.resume.empty()) {
      co_await commit_pending();  // the same file may be among these
      co_await perform(opening);  // may flush to the disk
    } else {
      opening.run();
    }
    // Another connection holds the token, and is being revoked.
    std::chrono::milliseconds waited{0};
    while (!opening.error() && !held && !upload && waited < state_.options.limits.reply) {
      co_await wait(takeover_pause);
      waited += takeover_pause;
      co_await perform(opening);
    }
    if (!opening.error() && !held && !upload) {
      const auto not_released = std::make_error_code(std::errc::timed_out);
      co_await refuse_upload(details, errc::io, not_released, ec);
    } else if (opening.error()) {
      co_await refuse_upload(details, to_refusal(opening.error()), opening.error(), ec);
    } else if (held) {
      event_.id = details.id->to_string();
      if (!details.have) replies() += format_ready({details.size}) + '\n';
      replies() += event_.id + '\n';
    } else {
      co_await receive(details, expected, upload, ec);
    }
  }

  /// Refuses an upload at its details line.
  flow<void> refuse_upload(const upload_details<digest_type>& details, errc refusal,
                           std::error_code cause, std::error_code& ec) {
    ec.clear();
    if (details.nowait) co_await drain_and_refuse(details.size, refusal, cause, ec);
    else refuse(refusal, cause, ec);
  }

  std::optional<typename Store::upload> begin_upload(const upload_details<digest_type>& details,
                                                     std::error_code& ec) {
    if constexpr (resumes) {
      if (!details.resume.empty()) return store_.resume(details, ec);
    }
    return store_.create(details, ec);
  }

  flow<void> receive(const upload_details<digest_type>& details,
                     const std::optional<digest_type>& expected,
                     std::optional<typename Store::upload>& upload, std::error_code& ec) {
    Hasher hash;
    std::uint64_t offset = 0;
    if constexpr (resumes) offset = co_await hash_held(connection(), *upload, hash, ec);
    if (ec) {
      const std::error_code read_error = ec;
      keep_or_discard(details, upload, read_error);
      co_await refuse_upload(details, errc::io, read_error, ec);
      co_return;
    }
    const std::uint64_t count = details.size - offset;
    replies() += format_ready({offset > 0 ? std::optional{offset} : std::nullopt}) + '\n';
    if (!details.nowait || connection().in.size() < count) co_await flush(ec);
    if (ec) {
      keep_or_discard(details, upload, {});
      co_return;
    }
    if (details.nowait) co_await read_ahead(count, ec);
    if (ec) {
      keep_or_discard(details, upload, {});
      co_await abort_upload(ec, ec);
      co_return;
    }
    const std::atomic<bool>* revoked = nullptr;
    if constexpr (resumes) revoked = &upload->revoked();
    const transfer received = co_await receive_bytes(connection(), *upload, hash, count, revoked);
    event_.bytes = received.bytes;
    event_.cause = received.local_error;
    if (received.stream_error) {
      keep_or_discard(details, upload, received.local_error);
      co_await abort_upload(received.stream_error, ec);
      co_return;
    }
    if (received.local_error) {
      upload.reset();
      co_await drain_and_refuse(count - received.bytes, to_refusal(received.local_error),
                                received.local_error, ec);
      co_return;
    }
    const digest_type id = hash.finish();
    event_.id = id.to_string();
    if (expected && *expected != id) {
      upload.reset();
      refuse(errc::mismatch, {}, ec);
      co_return;
    }
    pending_commits_.push_back({std::move(*upload), id, event_});
    reports_later_ = true;
    const bool more_follow = details.nowait && count <= connection().small_file_size &&
                             connection().in.holds_line() &&
                             pending_commits_.size() < max_commit_batch;
    if (!more_follow) co_await commit_pending();
  }

  /// An upload that was received completely and verified, and is not committed yet.
  struct pending_commit {
    std::optional<typename Store::upload> upload;
    digest_type id;
    session_event event;
    std::error_code failed{};
    errc refusal{};
    std::string later_replies{};  ///< To the commands after it.
  };

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

  static void reject_commit(pending_commit& entry, std::error_code why) {
    entry.failed = why;
    entry.refusal = to_refusal(why);
    entry.event.error = entry.refusal;
    entry.event.cause = why;
  }

  /// Reports the results of the pending uploads, and removes them.
  void report_pending() {
    for (const pending_commit& entry : pending_commits_) {
      if (state_.on_end) state_.on_end(entry.event);
    }
    pending_commits_.clear();
    pending_commits_.shrink_to_fit();
  }

  /// Reports all pending uploads as failed.
  void fail_pending(std::error_code why) {
    for (pending_commit& entry : pending_commits_) reject_commit(entry, why);
    report_pending();
  }

  static void commit(pending_commit& entry) {
    try {
      entry.upload->commit(entry.id, entry.failed);
    } catch (...) {
      entry.failed = error_of(std::current_exception());
    }
    entry.upload.reset();
  }

  /// Reads into a wider buffer, which may hold several pipelined small files.
  flow<void> read_ahead(std::uint64_t count, std::error_code& ec) {
    line_buffer& in = connection().in;
    if (in.size() >= count || count > wide_buffer_size) co_return;
    in.widen();
    action reading;
    reading.io = io_kind::read_some;
    reading.read_buffer = in.space();
    const outcome read = co_await reading;
    in.filled(static_cast<std::size_t>(read.bytes));
    ec = read.error;
  }

  /// Ends an upload whose connection was lost. Keeps the stored bytes, if it can be resumed, unless
  /// storing failed with `store_error`.
  void keep_or_discard(const upload_details<digest_type>& details,
                       std::optional<typename Store::upload>& upload, std::error_code store_error) {
    if constexpr (resumes) {
      const bool intact = !store_error || store_error == std::errc::operation_canceled;
      if (intact && !details.resume.empty()) upload->keep();
    }
    upload.reset();
  }

  /// Refuses an upload of which `left` bytes are still to be received (section 5).
  flow<void> drain_and_refuse(std::uint64_t left, errc refusal, std::error_code cause,
                              std::error_code& ec) {
    event_.cause = cause;
    if (left > state_.options.max_drain_size) {
      co_await refuse_and_close(refusal, ec);
      co_return;
    }
    if (connection().in.size() < left) co_await flush(ec);
    if (ec) co_return;
    co_await drop_bytes(connection(), left, ec);
    if (ec) co_await abort_upload(ec, ec);
    else refuse(refusal, cause, ec);
  }

  /// Ends the connection after the stream failed during an upload's bytes.
  flow<void> abort_upload(std::error_code why, std::error_code& ec) {
    if (why == errc::timed_out || why == errc::superseded) {
      const errc refusal = why == errc::timed_out ? errc::timeout : errc::superseded;
      co_await refuse_and_close(refusal, ec);
      co_return;
    }
    co_await close(connection());
    ec = why == errc::end_of_stream ? make_error_code(errc::truncated) : why;
  }

  // --------------------------------------------------------------------------------------- downloads

  flow<void> answer_download(std::error_code& ec) {
    const auto line = co_await ask(download_prompt, ec);
    if (!line) co_return;
    const auto wanted = parse_download_request<digest_type>(*line, ec);
    if (!is_clean_line(*line)) ec = errc::bad_request;
    if (ec) {
      refuse(to_refusal(ec), {}, ec);
      co_return;
    }
    event_.id = wanted.id.to_string();

    std::optional<opened_file<digest_type, typename Store::reader>> file;
    std::uint64_t count = 0;
    work opening{[&](std::error_code& failed) {
      file = store_.open(wanted.id, failed);
      if (failed) return;
      if (!file) {
        failed = errc::not_found;
      } else if (wanted.offset.value_or(0) > file->info.size) {
        failed = errc::bad_range;
      } else {
        count = file->info.size - wanted.offset.value_or(0);
        if (wanted.length) count = std::min(count, *wanted.length);
        if (wanted.offset) file->reader.seek(*wanted.offset, failed);
      }
    }};
    opening.run();
    if (opening.error()) {
      refuse(to_refusal(opening.error()), opening.error(), ec);
      co_return;
    }
    event_.name = file->info.name;
    event_.size = file->info.size;
    download_entry<digest_type> entry{file->info, wanted.offset, std::nullopt};
    if (wanted.length) entry.length = count;
    if (!wanted.mtime) entry.file.modified.reset();
    if (count <= connection().small_file_size) {
      append_file(format_entry(entry) + '\n', file->reader, static_cast<std::size_t>(count), ec);
    } else {
      out_ += format_entry(entry) + '\n';
      co_await send(file->reader, wanted.offset.value_or(0), count, ec);
    }
  }

  /// Appends a small file to the replies, or a refusal if it can't be read.
  void append_file(std::string entry_line, typename Store::reader& reader, std::size_t count,
                   std::error_code& ec) {
    const std::size_t old_size = out_.size();
    out_ += entry_line;
    out_.resize(out_.size() + count);
    const auto buffer = std::as_writable_bytes(std::span{out_}).last(count);
    const auto ignore = [](std::span<const std::byte>) {};
    fetching_state<typename Store::reader, decltype(ignore)> state{reader, ignore, count, {}};
    fetch_call<decltype(state)>{state, buffer}(ec);
    event_.bytes = ec ? 0 : count;
    if (!ec) return;
    const std::error_code read_error = ec;
    out_.resize(old_size);
    refuse(errc::io, read_error, ec);
  }

  /// Writes `out_` and then `count` bytes. After a failure the stream is unusable.
  flow<void> send(typename Store::reader& reader, std::uint64_t offset, std::uint64_t count,
                  std::error_code& ec) {
    transfer sent;
    bool by_sendfile = false;
    if constexpr (descriptor_source<typename Store::reader>) {
      by_sendfile = connection().sends_files;
      if (by_sendfile) {
        const file_range range{reader.native_handle(), offset, count};
        sent = co_await send_file_bytes(connection(), as_bytes(out_), reader, range);
      }
    }
    if (!by_sendfile) {
      const auto ignore = [](std::span<const std::byte>) {};
      sent = co_await send_bytes(connection(), as_bytes(out_), reader, ignore, count, watch::no);
    }
    out_ = {};
    event_.bytes = sent.bytes;
    event_.cause = sent.local_error;
    ec = sent.local_error ? sent.local_error : sent.stream_error;
    if (ec) co_await close(connection());
  }

  session_state& state_;
  Store& store_;
  session_event event_;
  bool in_command_ = false;     ///< False while it waits for a command.
  bool reports_later_ = false;  ///< `commit_pending` will report the command's end.
  std::vector<pending_commit> pending_commits_;
  std::string out_;
};

/// Sends an ERROR line to a peer that is not served, and closes (section 1, `busy` and the like).
inline flow<void> reject(connection& c, errc refusal, std::error_code& ec) {
  const std::string line = format_error(refusal, make_error_code(refusal).message()) + '\n';
  co_await write_text(c, line, ec);
  co_await end_connection(c, ec);
}

}  // namespace filexfer::detail

#endif
