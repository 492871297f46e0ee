#ifndef FILEXFER_DETAIL_FLOW_CLIENT_LISTS_HPP
#define FILEXFER_DETAIL_FLOW_CLIENT_LISTS_HPP

// The client's side of LIST_FILES and FEATURES (the protocol's sections 4 and 7).

#include <filexfer/detail/flow/client_state.hpp>
#include <filexfer/detail/flow/connection.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/options.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>

#include <cstddef>
#include <cstdint>
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
  for (std::size_t lines = 0; !ec; ++lines) {
    // No server has anything to do before it can answer this.
    const std::string_view feature =
        co_await read_reply(state, deadline::line, reply_to::command, ec);
    if (ec || feature.empty()) break;
    features = with_feature(std::move(features), feature, ec);
    if (ec || lines == max_feature_lines) fail_protocol(state, ec);
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
  if (!wanted.prefix.empty() || wanted.mtime || wanted.exec) {
    co_await learn_features<Hasher>(state, ec);
    if (ec) co_return;
    if (state.features->prefix) asked.prefix = wanted.prefix;
    asked.mtime = wanted.mtime && state.features->mtime;
    asked.exec = wanted.exec && state.features->exec;
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
    if (asked.exec && !parsed.file.executable) parsed.file.executable = false;
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

}  // namespace filexfer::detail

#endif
