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
  using base::answer_pending;
  using base::answer_upload;
  using base::append_pending;
  using base::ask;
  using base::authorize;
  using base::carrying_out;
  using base::cause_of;
  using base::connection;
  using base::event_;
  using base::fail_pending;
  using base::flush;
  using base::in_command_;
  using base::next_line;
  using base::out_;
  using base::perform_unlocked;
  using base::refuse;
  using base::refuse_and_close;
  using base::reports_later_;
  using base::resumes;
  using base::state_;
  using base::store_;
  using base::text_of;
  using typename base::digest_type;
  using typename base::pending_download;

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
      if (!connected) {
        action ending;  // not a flow, which takes memory
        if (threw) ending.io = io_kind::close;
        ending.waits_for[blocking] = &carrying_out();
        co_await ending;
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
    const bool may_be_pending = line.verb == command::upload || line.verb == command::download;
    if (!may_be_pending) co_await answer_pending(ec);
    if (ec) co_return;
    switch (line.verb) {
      case command::list_files: co_await answer_list(line, ec); break;
      case command::upload: co_await answer_upload(ec); break;
      case command::download: co_await answer_download(ec); break;
      case command::features: answer_features(); break;
      case command::remove: co_await answer_remove(ec); break;
    }
  }

  // ------------------------------------------------------------------------------- lists and features

  flow<void> answer_list(const command_line& line, std::error_code& ec) {
    const list_request wanted = parse_list_request(line.params, ec);
    if (ec == errc::bad_request) {
      co_await refuse_and_close(errc::bad_request, ec);
      co_return;
    }
    if (ec) {
      refuse(to_refusal(ec), {}, ec);
      co_return;
    }
    if (!state_.options.permitted.list) ec = errc::denied;
    if (!ec && state_.authorize) {
      const access_request request{line.verb, wanted.prefix};
      co_await authorize(request, ec);
    }
    if (ec) {
      const std::error_code why = ec;
      refuse(to_refusal(why), cause_of(why), ec);
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
          if (!wanted.exec) file->executable.reset();
          out_ += format_entry(*file) + '\n';
          ++event_.size;
        }
      }
      if (failed || ended) cursor.reset();
    }};
    work closing{[&](std::error_code&) { cursor.reset(); }};
    while (!ended) {
      co_await perform(listing);
      if (listing.error()) {
        const errc refusal = to_refusal(listing.error());
        event_.error = refusal;
        event_.cause = listing.error();
        out_ += format_error(refusal, text_of(refusal)) + '\n';
        ended = true;
      } else if (ended) {
        if (event_.size == 0) out_.append(empty_list_line) += '\n';
        out_ += '\n';
      }
      if (!ended) co_await flush(ec);
      if (ec) {
        co_await perform(closing);
        co_return;
      }
    }
  }

  void answer_features() {
    server_features features{protocol_version, std::string{Hasher::name()},
                             state_.options.max_size};
    features.resume = resumes;
    features.have = state_.options.shortcuts;
    features.nowait = features.mtime = features.exec = features.prefix = true;
    features.max_name_length = max_name_length;
    features.remove = removes && state_.options.permitted.remove;
    out_ += format_features(features);
  }

  // ---------------------------------------------------------------------------------------- removals

  static constexpr bool removes = removing_store<Store, digest_type>;

  flow<void> answer_remove(std::error_code& ec) {
    if constexpr (!removes) {
      refuse(errc::unknown_command, {}, ec);
      co_return;
    }
    const auto line = co_await ask(remove_prompt, ec);
    if (!line) co_return;
    const auto wanted = parse_remove_request<digest_type>(*line, ec);
    if (!is_clean_line(*line)) ec = errc::bad_request;
    if (!ec && !state_.options.permitted.remove) ec = errc::read_only;
    event_.name = wanted.name;
    if (!wanted.name.empty()) event_.id = wanted.id.to_string();
    if (!ec && state_.authorize) {
      const access_request request{command::remove, wanted.name, event_.id};
      co_await authorize(request, ec);
    }
    if (ec) {
      const std::error_code why = ec;
      refuse(to_refusal(why), cause_of(why), ec);
      co_return;
    }
    work removing{[&](std::error_code& failed) {
      if constexpr (removes) {
        const bool found = store_.remove(wanted.id, wanted.name, failed);
        if (!failed && !found) failed = errc::not_found;
      }
    }};
    const auto is_locked = [&] { return must_repeat(removing.error()); };
    co_await perform_unlocked(removing, is_locked);
    if (removing.error()) refuse(to_refusal(removing.error()), removing.error(), ec);
    else out_ += event_.id + '\n';
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
    if (!state_.options.permitted.download) ec = errc::denied;
    if (!ec && state_.authorize) {
      const access_request asked{command::download, {}, event_.id};
      co_await authorize(asked, ec);
    }
    if (ec) {
      const std::error_code why = ec;
      refuse(to_refusal(why), cause_of(why), ec);
      co_return;
    }
    pending_download request{wanted, connection().small_file_size};
    co_await append_pending(request, true, ec);
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
