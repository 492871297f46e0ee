#ifndef FILEXFER_DETAIL_FLOW_SESSION_FLOW_HPP
#define FILEXFER_DETAIL_FLOW_SESSION_FLOW_HPP

// The server side of the protocol: one connection, from its first line to its close.

#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/flow/session_replies.hpp>
#include <filexfer/detail/flow/session_uploads.hpp>
#include <filexfer/detail/flow/transfer.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/options.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/storage.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// Entries, listed or not, that one piece of work visits.
inline constexpr std::size_t list_batch_entries = 1024;

template <class Store, hasher Hasher>
class session_flow : session_uploads<Store, Hasher> {
  using base = session_uploads<Store, Hasher>;
  using base::answer_upload;
  using base::ask;
  using base::commit_pending;
  using base::connection;
  using base::event_;
  using base::fail_pending;
  using base::flush;
  using base::in_command_;
  using base::next_line;
  using base::out_;
  using base::refuse;
  using base::refuse_and_close;
  using base::reports_later_;
  using base::resumes;
  using base::state_;
  using base::store_;
  using base::text_of;
  using typename base::digest_type;

 public:
  session_flow(session_state& state, Store& store) noexcept : base{state, store} {}

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

  // ------------------------------------------------------------------------------- lists and features

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
        const file_segment range{reader.native_handle(), offset, count};
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
};

/// Sends an ERROR line to a peer that is not served, and closes (section 1, `busy` and the like).
inline flow<void> reject(connection& c, errc refusal, std::error_code& ec) {
  const std::string line = format_error(refusal, make_error_code(refusal).message()) + '\n';
  co_await write_text(c, line, ec);
  co_await end_connection(c, ec);
}

}  // namespace filexfer::detail

#endif
