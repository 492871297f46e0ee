#ifndef FILEXFER_DETAIL_FLOW_SESSION_UPLOADS_HPP
#define FILEXFER_DETAIL_FLOW_SESSION_UPLOADS_HPP

// The server's side of UPLOAD (the protocol's section 5).

#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/flow/session_replies.hpp>
#include <filexfer/detail/flow/transfer.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/options.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/storage.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// How often an upload that takes over another's token checks whether that one has released it.
inline constexpr std::chrono::milliseconds takeover_pause{50};

template <class Store, hasher Hasher>
class session_uploads : protected session_replies<Store, Hasher> {
  using base = session_replies<Store, Hasher>;

 protected:
  using base::ask;
  using base::commit_pending;
  using base::connection;
  using base::event_;
  using base::flush;
  using base::pending_commits_;
  using base::refuse;
  using base::refuse_and_close;
  using base::replies;
  using base::reports_later_;
  using base::state_;
  using base::store_;

  using base::base;
  using typename base::digest_type;
  ~session_uploads() = default;

  static constexpr bool resumes = resumable_store<Store, digest_type>;

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

 private:
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
};

}  // namespace filexfer::detail

#endif
