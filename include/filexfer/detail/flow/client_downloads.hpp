#ifndef FILEXFER_DETAIL_FLOW_CLIENT_DOWNLOADS_HPP
#define FILEXFER_DETAIL_FLOW_CLIENT_DOWNLOADS_HPP

// The client's side of DOWNLOAD (the protocol's section 6).

#include <filexfer/detail/flow/client_lists.hpp>
#include <filexfer/detail/flow/client_state.hpp>
#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/flow/transfer.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/entry.hpp>
#include <filexfer/error.hpp>
#include <filexfer/options.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>
#include <filexfer/storage.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// Parses a download's entry line, and checks it against the request.
template <class Digest>
download_entry<Digest> check_entry(client_state& state, std::string_view line,
                                   const download_request<Digest>& wanted, std::error_code& ec) {
  auto entry = parse_entry<Digest>(line, ec);
  const std::uint64_t offset = wanted.offset.value_or(0);
  const bool matches = !ec && entry.file.id == wanted.id && entry.offset == wanted.offset &&
                       entry.length.has_value() == wanted.length.has_value() &&
                       offset <= entry.file.size;
  if (!matches ||
      (wanted.length && *entry.length != std::min(*wanted.length, entry.file.size - offset))) {
    fail_protocol(state, ec);
  }
  if (wanted.exec && !entry.file.executable) entry.file.executable = false;
  return entry;
}

/// The request for a whole file, with the attributes that the server is known to keep.
template <class Digest>
download_request<Digest> request_for(const client_state& state, const Digest& id) {
  download_request<Digest> wanted{id, std::nullopt, std::nullopt};
  wanted.mtime = state.features && state.features->mtime;
  wanted.exec = state.features && state.features->exec;
  return wanted;
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
  result.local_digest = hash.finish();
  if (result.local_digest != result.file.id) {
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
  auto wanted = request_for(state, id);
  Hasher hash;
  if constexpr (resumable_sink<Sink>) {
    const bool in_ranges = state.features && state.features->version > 0;
    if (!in_ranges) sink.discard_held(ec);
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
