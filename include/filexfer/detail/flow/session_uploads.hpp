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

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>

namespace filexfer::detail {

template <class Store, hasher Hasher>
class session_uploads : protected session_replies<Store, Hasher> {
  using base = session_replies<Store, Hasher>;

 protected:
  using base::answer_pending;
  using base::append_pending;
  using base::ask;
  using base::authorize;
  using base::can_overlap;
  using base::cause_of;
  using base::connection;
  using base::event_;
  using base::flush;
  using base::perform_unlocked;
  using base::read_or_answer;
  using base::refuse;
  using base::refuse_and_close;
  using base::replies;
  using base::state_;
  using base::store_;

  using base::base;
  using typename base::digest_type;
  using typename base::pending_query;
  using typename base::pending_upload;
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
    if (!ec && !state_.options.permitted.upload) ec = errc::read_only;
    if (!ec && details.size > state_.options.max_size.value_or(max_file_size)) ec = errc::too_large;
    details.nowait = details.nowait && !details.have;
    if (!ec && state_.authorize) {
      const access_request request{command::upload, details.name,
                                   details.id ? details.id->to_string() : "", details.size};
      co_await authorize(request, ec);
    }
    if (ec) {
      const std::error_code why = ec;
      co_await refuse_upload(details, to_refusal(why), cause_of(why), ec);
      co_return;
    }
    if (details.have) {
      co_await answer_query(std::move(details), ec);
      co_return;
    }
    // With `nowait` the bytes follow in any case: they are checked once they have arrived, and the
    // upload is not resumed.
    const auto expected = details.nowait ? std::exchange(details.id, std::nullopt) : details.id;

    arriving_upload arriving{{std::nullopt, std::move(details), {}, {}}, expected, {}};
    co_await begin(arriving, ec);
  }

 private:
  struct arriving_upload {
    pending_upload request;
    std::optional<digest_type> expected;
    Hasher hash;
    std::uint64_t count = 0;  ///< Bytes that are to arrive.
  };

  flow<void> answer_query(upload_details<digest_type> details, std::error_code& ec) {
    if (state_.options.shortcuts) {
      pending_query query{std::move(details)};
      co_await append_pending(query, true, ec);
    } else {
      refuse(errc::not_found, errc::not_found, ec);
    }
  }

  flow<void> begin(arriving_upload& arriving, std::error_code& ec) {
    const upload_details<digest_type>& details = arriving.request.details;
    if (details.nowait && details.resume.empty() && is_small(details.size)) {
      // The store is asked once the bytes have arrived: they follow, whatever it says.
      arriving.count = details.size;
      replies() += format_ready({}) + '\n';
      co_await receive_small(arriving, ec);
      co_return;
    }
    bool held = false;
    work opening{[&](std::error_code& failed) {
      if (details.id && state_.options.shortcuts) {
        held = store_.add_name(*details.id, details.size, details.name,
                               {details.modified, details.executable}, failed);
      }
      if (!failed && !held) arriving.request.upload = begin_upload(details, failed);
    }};
    if (details.id || !details.resume.empty()) {
      co_await answer_pending(ec);  // the same file may be among these
      if (ec) co_return;
    }
    const auto is_locked = [&] { return must_repeat(opening.error()); };
    co_await perform_unlocked(opening, is_locked);
    if (opening.error()) {
      co_await refuse_upload(details, to_refusal(opening.error()), opening.error(), ec);
    } else if (held) {
      event_.id = details.id->to_string();
      replies() += format_ready({details.size}) + '\n';
      replies() += event_.id + '\n';
    } else {
      co_await receive(arriving, ec);
    }
  }

  bool is_small(std::uint64_t bytes) const noexcept {
    return bytes <= state_.connection.small_file_size;
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

  flow<void> receive(arriving_upload& arriving, std::error_code& ec) {
    pending_upload& request = arriving.request;
    std::uint64_t offset = 0;
    if constexpr (resumes)
      offset = co_await hash_held(connection(), *request.upload, arriving.hash, ec);
    if (ec) {
      const std::error_code read_error = ec;
      co_await keep_or_discard(request, read_error);
      co_await refuse_upload(request.details, errc::io, read_error, ec);
      co_return;
    }
    arriving.count = request.details.size - offset;
    replies() += format_ready({offset > 0 ? std::optional{offset} : std::nullopt}) + '\n';
    if (is_small(arriving.count)) co_await receive_small(arriving, ec);
    else co_await receive_large(arriving, ec);
  }

  /// Receives an upload into memory. The store gets it together with those that follow at once.
  flow<void> receive_small(arriving_upload& arriving, std::error_code& ec) {
    pending_upload& request = arriving.request;
    detail::connection& c = connection();
    const auto count = static_cast<std::size_t>(arriving.count);
    if (request.details.nowait) co_await read_ahead(count, ec);
    else co_await flush(ec);
    if (ec) {
      co_await keep_or_discard(request, {});
      co_return;
    }
    request.bytes.resize(count);
    const auto arrived = c.in.take(count);
    std::copy(arrived.begin(), arrived.end(), request.bytes.begin());
    action reading;
    reading.io = io_kind::read_full;
    reading.read_buffer = std::span{request.bytes}.subspan(arrived.size());
    if constexpr (resumes) {
      if (request.upload) reading.revoked = &request.upload->revoked();
    }
    outcome read;
    if (c.read_error) read.error = c.read_error;
    else if (arrived.size() < count) read = co_await reading;
    event_.bytes = arrived.size() + read.bytes;
    ec = read.error;
    if (ec) {
      request.bytes.resize(static_cast<std::size_t>(event_.bytes));
      co_await keep_or_discard(request, {});
      co_await abort_upload(ec, ec);
      co_return;
    }
    arriving.hash.update(request.bytes);
    co_await finish(arriving, ec);
  }

  flow<void> receive_large(arriving_upload& arriving, std::error_code& ec) {
    pending_upload& request = arriving.request;
    co_await flush(ec);
    if (ec) {
      co_await keep_or_discard(request, {});
      co_return;
    }
    const std::atomic<bool>* revoked = nullptr;
    if constexpr (resumes) revoked = &request.upload->revoked();
    const transfer received = co_await receive_bytes(connection(), *request.upload, arriving.hash,
                                                     arriving.count, revoked);
    event_.bytes = received.bytes;
    event_.cause = received.local_error;
    if (received.stream_error) {
      co_await keep_or_discard(request, received.local_error);
      co_await abort_upload(received.stream_error, ec);
    } else if (received.local_error) {
      co_await keep_or_discard(request, received.local_error);
      co_await drain_and_refuse(arriving.count - received.bytes, to_refusal(received.local_error),
                                received.local_error, ec);
    } else {
      co_await finish(arriving, ec);
    }
  }

  /// Has the store publish an upload that has arrived, unless it is not what the client expects.
  flow<void> finish(arriving_upload& arriving, std::error_code& ec) {
    pending_upload& request = arriving.request;
    request.id = arriving.hash.finish();
    event_.id = request.id.to_string();
    if (arriving.expected && *arriving.expected != request.id) {
      co_await keep_or_discard(request, make_error_code(errc::mismatch));
      refuse(errc::mismatch, {}, ec);
      co_return;
    }
    const bool more_follow = !request.upload;
    co_await append_pending(request, more_follow, ec);
  }

  /// Reads into a wider buffer, which may hold several pipelined small files, and answers earlier
  /// requests meanwhile. `ec` is set if that fails; an error of the read is in `read_error`.
  flow<void> read_ahead(std::uint64_t count, std::error_code& ec) {
    detail::connection& c = connection();
    const auto widen = [&] {
      if (c.pending_read.empty()) c.in.widen();
    };
    while (c.in.size() < count && count <= wide_buffer_size && can_overlap() && !ec) {
      widen();
      co_await read_or_answer(interruptible::no, ec);
    }
    if (ec || c.in.size() >= count) co_return;
    co_await flush(ec);
    if (ec || c.read_error || (count > wide_buffer_size && c.pending_read.empty())) co_return;
    widen();
    action reading;
    reading.io = io_kind::read_some;
    reading.read_buffer = read_target(c);
    const outcome read = co_await reading;
    c.pending_read = {};
    c.in.filled(static_cast<std::size_t>(read.bytes));
    c.read_error = read.error;
  }

  /// Ends an upload that can't be finished. Keeps the bytes that have arrived, if it can be
  /// resumed, unless it failed with `error`, not just its connection.
  flow<void> keep_or_discard(pending_upload& request, std::error_code error) {
    if (!request.upload) co_return;
    const bool intact = !error || error == std::errc::operation_canceled;
    work ending{[&](std::error_code& failed) {
      if constexpr (resumes) {
        const bool keeps = intact && !request.details.resume.empty();
        if (keeps && !request.bytes.empty()) request.upload->write(request.bytes, failed);
        if (keeps) request.upload->keep();
      }
      request.upload.reset();
    }};
    co_await perform(ending);
    if (request.upload) ending.run();  // the operation was cancelled
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
