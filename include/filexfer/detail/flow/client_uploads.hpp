#ifndef FILEXFER_DETAIL_FLOW_CLIENT_UPLOADS_HPP
#define FILEXFER_DETAIL_FLOW_CLIENT_UPLOADS_HPP

// The client's side of UPLOAD (the protocol's section 5).

#include <filexfer/detail/flow/client_lists.hpp>
#include <filexfer/detail/flow/client_state.hpp>
#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/flow/transfer.hpp>
#include <filexfer/batch.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/options.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>
#include <filexfer/storage.hpp>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// Takes over the attributes that the server keeps; its features must be known.
template <class Digest, class Request>
void add_attributes(const client_state& state, upload_details<Digest>& details,
                    const Request& wanted) {
  if (state.features->mtime) details.modified = wanted.modified;
  if (state.features->exec) details.executable = wanted.executable;
}

template <class Digest>
upload_details<Digest> details_of(const client_state& state, const name_request<Digest>& asked) {
  upload_details<Digest> details{asked.name, asked.size, asked.id};
  details.have = true;
  add_attributes(state, details, asked);
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
  if (!accepts_name(state, asked.name)) {
    fail_synchronized(state, failure_origin::local, errc::bad_name, ec);
    co_return false;
  }
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
  if (wanted.expected || wanted.modified || wanted.executable || !wanted.resume.empty() ||
      !accepts_name(state, details.name)) {
    co_await learn_features<Hasher>(state, ec);
    if (ec) co_return result;
    if (state.features->version > 0) details.id = wanted.expected;
    add_attributes(state, details, wanted);
    if (state.features->resume) details.resume = wanted.resume;
  }
  if (!accepts_name(state, details.name)) {
    fail_synchronized(state, failure_origin::local, errc::bad_name, ec);
    co_return result;
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
  if (offset) result.local_digest = *details.id;
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
    if (result.offset == 0) result.local_digest = hash.finish();
  }
  const std::string_view reply = co_await read_reply(state, deadline::reply, reply_to::bytes, ec);
  if (ec) co_return result;
  const auto id = digest_type::from_hex(reply);
  if (!id) {
    fail_protocol(state, ec);
    co_return result;
  }
  result.remote_digest = *id;
  state.synchronized = true;
  if (result.remote_digest != result.local_digest) {
    fail(state, failure_origin::peer, errc::digest_mismatch, ec);
  } else if (wanted.expected &&
             result.local_digest != *wanted.expected) {  // the server could not check it
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

}  // namespace filexfer::detail

#endif
