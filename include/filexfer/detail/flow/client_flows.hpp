#ifndef FILEXFER_DETAIL_FLOW_CLIENT_FLOWS_HPP
#define FILEXFER_DETAIL_FLOW_CLIENT_FLOWS_HPP

// The client side of the protocol: one flow per command.

#include <filexfer/detail/flow/client_state.hpp>
#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/flow/transfer.hpp>
#include <filexfer/batch.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>
#include <filexfer/storage.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

/// A longer FEATURES reply is taken for endless.
inline constexpr std::size_t max_feature_lines = 1000;

/// FEATURES; a server without it has version 0.
inline flow<void> ask_features(client_state& state, std::error_code& ec) {
  const std::string line = std::string{to_string(command::features)} + '\n';
  co_await request(state, line, ec);
  server_features features;
  auto limit = deadline::reply;
  for (std::size_t lines = 0; !ec; ++lines) {
    const std::string_view feature = co_await read_reply(state, limit, reply_to::command, ec);
    if (ec || feature.empty()) break;
    features = with_feature(std::move(features), feature, ec);
    if (ec || lines == max_feature_lines) fail_protocol(state, ec);
    limit = deadline::line;
  }
  if (ec == errc::unknown_command && state.synchronized) {
    features = {};
    ec.clear();
    state.origin = failure_origin::none;
  }
  if (!ec) state.features = std::move(features);
}

/// Asks for FEATURES before the operation's own command, unless known. The client stays
/// synchronized after `errc::wrong_digest_kind`.
template <hasher Hasher>
flow<void> learn_features(client_state& state, std::error_code& ec) {
  if (!state.features) co_await ask_features(state, ec);
  if (ec) co_return;
  if (!state.features->digest.empty() && state.features->digest != Hasher::name()) {
    fail_synchronized(state, failure_origin::peer, errc::wrong_digest_kind, ec);
  } else {
    state.synchronized = false;
  }
}

inline flow<server_features> get_features(client_state& state, std::error_code& ec) {
  operation entered{state, ec};
  if (!entered) co_return server_features{};
  state.features.reset();
  co_await ask_features(state, ec);
  if (ec) co_return server_features{};
  state.synchronized = true;
  co_return *state.features;
}

/// LIST_FILES; calls `on_entry(entry, ec)` for each wanted entry as it arrives; it may set `ec` to
/// stop. More than `max_entries` entries, wanted or not, are `errc::too_many_entries`.
template <hasher Hasher, class OnEntry>
flow<void> list_files(client_state& state, list_request wanted, std::uint64_t max_entries,
                      OnEntry on_entry, std::error_code& ec) {
  operation entered{state, ec};
  if (!entered) co_return;
  if (wanted.prefix.size() > max_name_length) {  // no name begins with it; a line may not hold it
    fail_synchronized(state, failure_origin::local, errc::bad_name, ec);
    co_return;
  }
  list_request asked;
  if (!wanted.prefix.empty() || wanted.mtime) {
    co_await learn_features<Hasher>(state, ec);
    if (ec) co_return;
    if (state.features->prefix) asked.prefix = wanted.prefix;
    asked.mtime = wanted.mtime && state.features->mtime;
  }
  const std::string line = format_list_request(asked) + '\n';
  co_await request(state, line, ec);
  bool may_be_words = true;
  bool must_end = false;
  // A server that filters entries may visit many before it sends the next.
  const auto between = asked.prefix.empty() ? deadline::line : deadline::reply;
  for (auto limit = deadline::reply; !ec; limit = between) {
    const std::string_view entry = co_await read_reply(state, limit, reply_to::command, ec);
    if (ec) co_return;
    if (entry.empty()) break;
    const bool words = entry.find(';') == std::string_view::npos;
    if (must_end || (words && !may_be_words)) {
      fail_protocol(state, ec);
      co_return;
    }
    may_be_words = false;
    must_end = words;
    if (words) continue;
    auto parsed = parse_entry<typename Hasher::digest_type>(entry, ec);
    if (ec) {
      fail_protocol(state, ec);
      co_return;
    }
    if (max_entries-- == 0) ec = errc::too_many_entries;
    else if (parsed.file.name.starts_with(wanted.prefix)) on_entry(std::move(parsed.file), ec);
    if (ec) state.origin = failure_origin::local;
  }
  if (!ec) state.synchronized = true;
}

/// LIST_FILES into a vector of at most `client_options::max_entries`.
template <hasher Hasher>
flow<std::vector<file_info<typename Hasher::digest_type>>> list_bounded(client_state& state,
                                                                        list_request wanted,
                                                                        std::error_code& ec) {
  std::vector<file_info<typename Hasher::digest_type>> files;
  const auto keep = [&files](auto file, std::error_code&) { files.push_back(std::move(file)); };
  const std::uint64_t max_entries = state.options.max_entries;
  co_await list_files<Hasher>(state, std::move(wanted), max_entries, keep, ec);
  co_return files;
}

template <class Digest>
upload_details<Digest> details_of(const client_state& state, const name_request<Digest>& asked) {
  upload_details<Digest> details{asked.name, asked.size, asked.id};
  details.have = true;
  if (state.features->mtime) details.modified = asked.modified;
  return details;
}

/// UPLOAD with `have`, without bytes: returns whether the server holds the file, and has added the
/// name.
template <hasher Hasher>
flow<bool> query_have(client_state& state, const name_request<typename Hasher::digest_type>& asked,
                      std::error_code& ec) {
  if (!is_name(asked.name)) {
    fail_synchronized(state, failure_origin::local, errc::bad_name, ec);
    co_return false;
  }
  co_await learn_features<Hasher>(state, ec);
  if (ec) co_return false;
  if (!state.features->have || state.features->version == 0) {
    state.synchronized = true;
    co_return false;
  }
  std::string line = format_upload_details(details_of(state, asked));
  const std::string_view reply = co_await ask(state, command::upload, std::move(line), ec);
  if (ec == errc::not_found && state.synchronized) {
    ec.clear();
    state.origin = failure_origin::none;
    co_return false;
  }
  if (ec) co_return false;
  if (Hasher::digest_type::from_hex(reply) != asked.id) {
    fail_protocol(state, ec);
    co_return false;
  }
  state.synchronized = true;
  co_return true;
}

template <hasher Hasher>
flow<bool> add_name(client_state& state, name_request<typename Hasher::digest_type> asked,
                    std::error_code& ec) {
  operation entered{state, ec};
  if (!entered) co_return false;
  co_return co_await query_have<Hasher>(state, asked, ec);
}

/// UPLOAD of `source`. The caller holds the `operation`.
template <hasher Hasher, byte_source Source>
flow<upload_result<typename Hasher::digest_type>> upload_file(
    client_state& state, Source& source, upload_request<typename Hasher::digest_type> wanted,
    std::error_code& ec) {
  using digest_type = typename Hasher::digest_type;
  upload_result<digest_type> result;
  if (!is_name(wanted.name)) {
    fail_synchronized(state, failure_origin::local, errc::bad_name, ec);
    co_return result;
  }
  upload_details<digest_type> details{std::move(wanted.name), source.size(), std::nullopt};
  if (wanted.expected || wanted.modified || !wanted.resume.empty()) {
    co_await learn_features<Hasher>(state, ec);
    if (ec) co_return result;
    if (state.features->version > 0) details.id = wanted.expected;
    if (state.features->mtime) details.modified = wanted.modified;
    if (state.features->resume) details.resume = wanted.resume;
  }
  const bool resumes = seekable_source<Source> && !details.resume.empty();

  std::string details_line = format_upload_details(details);
  const std::string_view ready = co_await ask(state, command::upload, std::move(details_line), ec);
  if (ec) co_return result;
  const auto offset = parse_ready(ready, ec).offset;
  result.offset = offset.value_or(0);
  if (ec || result.offset > details.size ||
      (offset && (!details.id || (result.offset < details.size && !resumes)))) {
    fail_protocol(state, ec);
    co_return result;
  }

  result.sent = !offset || result.offset < details.size;
  if (offset) result.computed_here = *details.id;
  if (result.sent) {
    if constexpr (seekable_source<Source>) {
      if (result.offset > 0) source.seek(result.offset, ec);
      if (ec) {
        fail(state, failure_origin::local, ec, ec);
        co_return result;
      }
    }
    Hasher hash;
    const auto update = [&](std::span<const std::byte> bytes) { hash.update(bytes); };
    const std::uint64_t count = details.size - result.offset;
    const transfer sent =
        co_await send_bytes(state.connection, {}, source, update, count, watch::yes);
    result.bytes = sent.bytes;
    if (sent.local_error) {
      fail(state, failure_origin::local, sent.local_error, ec);
      co_return result;
    }
    if (sent.stream_error || sent.bytes < count) {
      co_await read_reply(state, deadline::linger, reply_to::bytes, ec);
      state.synchronized = false;
      const bool stream_failed = sent.stream_error && sent.stream_error != errc::end_of_stream;
      if (stream_failed && ec != condition::refused) {
        fail(state, failure_origin::stream, sent.stream_error, ec);
      } else if (!ec) {
        fail_protocol(state, ec);
      }
      co_return result;
    }
    if (result.offset == 0) result.computed_here = hash.finish();
  }
  const std::string_view reply = co_await read_reply(state, deadline::reply, reply_to::bytes, ec);
  if (ec) co_return result;
  const auto id = digest_type::from_hex(reply);
  if (!id) {
    fail_protocol(state, ec);
    co_return result;
  }
  result.computed_there = *id;
  state.synchronized = true;
  if (result.computed_there != result.computed_here) {
    fail(state, failure_origin::peer, errc::digest_mismatch, ec);
  } else if (wanted.expected &&
             result.computed_here != *wanted.expected) {  // the server could not check it
    fail(state, failure_origin::local, errc::source_changed, ec);
  }
  co_return result;
}

template <hasher Hasher, byte_source Source>
flow<upload_result<typename Hasher::digest_type>> upload(
    client_state& state, Source& source, upload_request<typename Hasher::digest_type> wanted,
    std::error_code& ec) {
  operation entered{state, ec};
  if (!entered) co_return upload_result<typename Hasher::digest_type>{};
  co_return co_await upload_file<Hasher>(state, source, std::move(wanted), ec);
}

/// Parses a download's entry line, and checks it against the request.
template <class Digest>
download_entry<Digest> check_entry(client_state& state, std::string_view line,
                                   const download_request<Digest>& wanted, std::error_code& ec) {
  const auto entry = parse_entry<Digest>(line, ec);
  const std::uint64_t offset = wanted.offset.value_or(0);
  const bool matches = !ec && entry.file.id == wanted.id && entry.offset == wanted.offset &&
                       entry.length.has_value() == wanted.length.has_value() &&
                       offset <= entry.file.size;
  if (!matches ||
      (wanted.length && *entry.length != std::min(*wanted.length, entry.file.size - offset))) {
    fail_protocol(state, ec);
  }
  return entry;
}

/// DOWNLOAD of a file or a part of it, up to the entry line, which is returned.
template <class Digest>
flow<download_entry<Digest>> open_download(client_state& state,
                                           const download_request<Digest>& wanted,
                                           std::error_code& ec) {
  std::string id_line = format_download_request(wanted);
  const std::string_view line = co_await ask(state, command::download, std::move(id_line), ec);
  if (ec) co_return download_entry<Digest>{};
  co_return check_entry(state, line, wanted, ec);
}

template <class Digest, class Sink>
void announce(Sink& sink, const file_info<Digest>& file, std::error_code& ec) {
  if constexpr (announced_sink<Sink, Digest>) sink.announce(file, ec);
}

/// Receives a download's bytes into `sink`; any failure leaves the client not synchronized. Returns
/// how many arrived.
template <class Sink, class Hasher>
flow<std::uint64_t> receive_download(client_state& state, Sink& sink, Hasher& hash,
                                     std::uint64_t count, std::error_code& ec) {
  const transfer received = co_await receive_bytes(state.connection, sink, hash, count);
  if (received.local_error) {
    fail(state, failure_origin::local, received.local_error, ec);
  } else if (received.stream_error == errc::end_of_stream) {
    fail(state, failure_origin::peer, errc::truncated, ec);
  } else {
    ec = received.stream_error;
  }
  co_return received.bytes;
}

/// Receives the bytes after an entry line; `hash` has the bytes before them. Without an error the
/// file's digest is right, and `sink` may be committed.
template <class Sink, class Hasher>
flow<download_result<typename Hasher::digest_type>> receive_file(
    client_state& state, Sink& sink, Hasher& hash,
    download_entry<typename Hasher::digest_type> entry, std::error_code& ec) {
  download_result<typename Hasher::digest_type> result;
  result.file = std::move(entry.file);
  work announcing{[&](std::error_code& failed) { announce(sink, result.file, failed); }};
  announcing.run();
  if (announcing.error()) {
    fail(state, failure_origin::local, announcing.error(), ec);
    co_return result;
  }
  const std::uint64_t count = entry.length.value_or(result.file.size - entry.offset.value_or(0));
  result.bytes = co_await receive_download(state, sink, hash, count, ec);
  if (ec) co_return result;
  state.synchronized = true;
  result.computed_here = hash.finish();
  if (result.computed_here != result.file.id) {
    fail(state, failure_origin::peer, errc::digest_mismatch, ec);
  }
  co_return result;
}

/// DOWNLOAD of a whole file, or of what the sink does not hold yet. The caller holds the
/// `operation`.
template <hasher Hasher, byte_sink Sink>
flow<download_result<typename Hasher::digest_type>> download_file(client_state& state,
                                                                  typename Hasher::digest_type id,
                                                                  Sink& sink, std::error_code& ec) {
  using digest_type = typename Hasher::digest_type;
  download_request<digest_type> wanted{id, std::nullopt, std::nullopt};
  wanted.mtime = state.features && state.features->mtime;
  Hasher hash;
  if constexpr (resumable_sink<Sink>) {
    const bool in_ranges = state.features && state.features->version > 0;
    if (!in_ranges) sink.drop_held(ec);
    else if (sink.held() > 0) wanted.offset = co_await hash_held(state.connection, sink, hash, ec);
    if (ec) {
      fail_synchronized(state, failure_origin::local, ec, ec);
      co_return download_result<digest_type>{};
    }
  }
  auto entry = co_await open_download(state, wanted, ec);
  if (ec) co_return download_result<digest_type>{};
  const auto result = co_await receive_file(state, sink, hash, std::move(entry), ec);
  if (ec) co_return result;
  work committing{[&](std::error_code& failed) { sink.commit(failed); }};
  co_await perform(committing);
  if (committing.error()) fail(state, failure_origin::local, committing.error(), ec);
  co_return result;
}

template <hasher Hasher, byte_sink Sink>
flow<download_result<typename Hasher::digest_type>> download(client_state& state,
                                                             typename Hasher::digest_type id,
                                                             Sink& sink, std::error_code& ec) {
  operation entered{state, ec};
  if (!entered) co_return download_result<typename Hasher::digest_type>{};
  co_return co_await download_file<Hasher>(state, id, sink, ec);
}

struct no_hash {
  void update(std::span<const std::byte>) const noexcept {}
};

/// DOWNLOAD of a part of a file, which can't be verified alone: `sink` is not committed.
template <hasher Hasher, byte_sink Sink>
flow<download_entry<typename Hasher::digest_type>> download_range(
    client_state& state, download_request<typename Hasher::digest_type> wanted, Sink& sink,
    std::error_code& ec) {
  download_entry<typename Hasher::digest_type> entry;
  operation entered{state, ec};
  if (!entered) co_return entry;
  co_await learn_features<Hasher>(state, ec);
  if (ec) co_return entry;
  if (state.features->version == 0) {
    fail_synchronized(state, failure_origin::peer, errc::unknown_command, ec);
    co_return entry;
  }
  entry = co_await open_download(state, wanted, ec);
  if (ec) co_return entry;
  announce(sink, entry.file, ec);
  if (ec) {
    state.origin = failure_origin::local;
    co_return entry;
  }
  no_hash unverified;
  co_await receive_download(state, sink, unverified, entry.bytes(), ec);
  if (!ec) state.synchronized = true;
  co_return entry;
}

}  // namespace filexfer::detail

#endif
