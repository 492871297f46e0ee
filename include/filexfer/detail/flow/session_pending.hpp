#ifndef FILEXFER_DETAIL_FLOW_SESSION_PENDING_HPP
#define FILEXFER_DETAIL_FLOW_SESSION_PENDING_HPP

// What a session asks of its store to answer UPLOAD and DOWNLOAD, once such a request was received
// completely: calls that may block. Requests that follow each other without a pause wait for each
// other, and are carried out in one piece of work, which saves hand-overs.

#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/flow/transfer.hpp>
#include <filexfer/error.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/refusal.hpp>
#include <filexfer/session_event.hpp>
#include <filexfer/storage.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <variant>
#include <vector>

namespace filexfer::detail {

/// Requests that wait for each other, at most.
inline constexpr std::size_t max_pending_requests = 64;
/// Bytes of uploads that wait for each other, after which they are stored.
inline constexpr std::size_t max_pending_bytes = std::size_t{256} * 1024;
/// Bytes of replies, including small files, that are buffered before they are written.
inline constexpr std::size_t reply_buffer_size = std::size_t{64} * 1024;
/// For how long one piece of work carries out downloads and queries, before another connection's
/// gets its turn.
inline constexpr std::chrono::milliseconds pending_slice{10};

/// Whether a store's call failed because somebody else holds a lock: it changed nothing, and is to
/// be repeated.
inline bool must_repeat(std::error_code ec) noexcept {
  return ec == std::errc::operation_would_block;
}

/// An upload whose bytes have arrived, and hash to `id`.
template <class Store, class Digest>
struct pending_upload {
  std::optional<typename Store::upload> upload;  ///< Unless it is still to be begun.
  upload_details<Digest> details;
  std::vector<std::byte> bytes;  ///< Those that are to be written to the upload.
  Digest id;
  bool has_bytes = false;    ///< The upload has all bytes.
  bool may_restart = false;  ///< It can be begun anew with `bytes`, which are all.

  /// Has the store take the bytes.
  void store_bytes(Store& store, std::error_code& ec) {
    ec.clear();
    if (has_bytes) return;
    if (!upload) {
      upload = store.create(details, ec);
      may_restart = true;
    }
    if (!ec && !bytes.empty()) upload->write(bytes, ec);
    has_bytes = !ec;
  }

  /// Releases what the upload has open, to begin it anew later, if that can be.
  void restart() {
    if (!may_restart) return;
    upload.reset();
    has_bytes = false;
  }
};

/// A download whose id line has arrived.
template <class Store, class Digest>
struct pending_download {
  download_request<Digest> wanted;
  std::size_t small_file_size;
  /// A file that is too large for a reply: the session sends it.
  std::optional<opened_file<Digest, typename Store::reader>> file{};
  std::uint64_t count = 0;  ///< Bytes to send of `file`.

  /// Opens the file, and returns the reply, with the bytes of a small file.
  std::string carry_out(Store& store, session_event& event, std::error_code& ec) {
    file = store.open(wanted.id, ec);
    if (ec) return {};
    if (!file) {
      ec = errc::not_found;
      return {};
    }
    const std::uint64_t offset = wanted.offset.value_or(0);
    if (offset > file->info.size) ec = errc::bad_range;
    else if (wanted.offset) file->reader.seek(offset, ec);
    if (ec) {
      file.reset();
      return {};
    }
    count = std::min(file->info.size - offset, wanted.length.value_or(file->info.size));
    event.name = file->info.name;
    event.size = file->info.size;
    std::string reply = entry_line();
    if (count <= small_file_size) {
      append_bytes(reply, ec);
      file.reset();
      event.bytes = ec ? 0 : count;
    }
    return reply;
  }

 private:
  std::string entry_line() const {
    download_entry<Digest> entry{file->info, wanted.offset, std::nullopt};
    if (wanted.length) entry.length = count;
    if (!wanted.mtime) entry.file.modified.reset();
    if (!wanted.exec) entry.file.executable.reset();
    return format_entry(entry) + '\n';
  }

  void append_bytes(std::string& reply, std::error_code& ec) {
    reply.resize(reply.size() + static_cast<std::size_t>(count));
    const auto buffer =
        std::as_writable_bytes(std::span{reply}).last(static_cast<std::size_t>(count));
    const auto ignore = [](std::span<const std::byte>) {};
    fetching_state<typename Store::reader, decltype(ignore)> reading{
        file->reader, ignore, count, {}};
    fetch_call<decltype(reading)>{reading, buffer}(ec);
  }
};

/// An upload with `have`, which has no bytes: a query whether the store holds a file.
template <class Digest>
struct pending_query {
  upload_details<Digest> details;

  /// Adds the name to a file that is held, and returns the reply.
  template <class Store>
  std::string carry_out(Store& store, session_event& event, std::error_code& ec) const {
    const Digest& id = *details.id;
    const bool held =
        store.add_name(id, details.size, details.name, {details.modified, details.executable}, ec);
    if (!ec && !held) ec = errc::not_found;
    if (ec) return {};
    event.id = id.to_string();
    return event.id + '\n';
  }
};

/// A request that was received completely and is not answered yet.
template <class Store, class Digest>
struct pending_request {
  using pending_upload = detail::pending_upload<Store, Digest>;
  using pending_download = detail::pending_download<Store, Digest>;
  using pending_query = detail::pending_query<Digest>;

  session_event event;
  std::variant<pending_upload, pending_download, pending_query> request;
  std::error_code failed{};
  bool done = false;            ///< It was carried out, or has failed.
  std::string reply{};          ///< Unless it failed.
  std::string later_replies{};  ///< To the requests after it.

  pending_upload* upload() noexcept { return std::get_if<pending_upload>(&request); }
  pending_download* download() noexcept { return std::get_if<pending_download>(&request); }

  /// The download of a large file, once it was opened.
  pending_download* large_download() noexcept {
    return download() != nullptr && download()->file ? download() : nullptr;
  }

  /// Calls `step(failed)`; an exception is a failure, too.
  template <class Step>
  void attempt(Step step) noexcept {
    try {
      step(failed);
    } catch (...) {
      failed = error_of(std::current_exception());
    }
  }

  /// Carries out a download or a query.
  void carry_out(Store& store) noexcept {
    failed.clear();
    attempt([&](std::error_code& ec) {
      if (auto* const query = std::get_if<pending_query>(&request)) {
        reply = query->carry_out(store, event, ec);
      } else {
        reply = download()->carry_out(store, event, ec);
      }
    });
    done = !must_repeat(failed);
  }

  /// To be called after `upload()` was committed, or has failed.
  void end_upload() noexcept {
    done = !must_repeat(failed);
    if (!done) return;
    attempt([&](std::error_code&) { reply = upload()->id.to_string() + '\n'; });
    upload()->upload.reset();
  }
};

/// Has the store commit these uploads, and sets `failed` of each.
template <class Store, class Digest>
void commit_uploads(Store& store, std::span<pending_request<Store, Digest>* const> requests) {
  if constexpr (group_commit_store<Store, Digest>) {
    std::vector<upload_commit<typename Store::upload, Digest>> commits;
    for (auto* request : requests) {
      commits.push_back({&*request->upload()->upload, request->upload()->id});
    }
    store.commit_all(commits);
    for (std::size_t i = 0; i < requests.size(); ++i) requests[i]->failed = commits[i].error;
  } else {
    for (auto* request : requests) {
      request->attempt([&](std::error_code& ec) {
        request->upload()->upload->commit(request->upload()->id, ec);
      });
    }
  }
}

/// Restarts uploads at the end of `stored`, and takes them off: about half, so that there are
/// descriptors to commit the others.
template <class Request>
void give_up_some(std::vector<Request*>& stored) {
  const std::size_t left = (stored.size() + 1) / 2;
  while (stored.size() > left && stored.back()->upload()->may_restart) {
    stored.back()->upload()->restart();
    stored.pop_back();
  }
}

/// Carries out at most so many of the uploads that `requests` begins with. If several run out of
/// descriptors, they are to be carried out again.
template <class Store, class Digest>
void carry_out_some(Store& store, std::span<pending_request<Store, Digest>> requests,
                    std::size_t most) {
  std::vector<pending_request<Store, Digest>*> stored;
  for (auto& request : requests) {
    if (!request.upload() || stored.size() == most) break;
    if (request.done) continue;
    request.attempt([&](std::error_code& ec) { request.upload()->store_bytes(store, ec); });
    if (request.failed == std::errc::too_many_files_open && !stored.empty()) {
      give_up_some(stored);
      break;
    }
    if (request.failed) request.end_upload();
    else stored.push_back(&request);
    if (must_repeat(request.failed)) break;
  }
  try {
    commit_uploads<Store, Digest>(store, stored);
  } catch (...) {
    for (auto* request : stored) request->failed = error_of(std::current_exception());
  }
  for (auto* request : stored) {
    const bool ran_out = stored.size() > 1 && request->failed == std::errc::too_many_files_open;
    if (ran_out) request->upload()->restart();
    else request->end_upload();
  }
}

/// Carries out the uploads that `requests` begins with: the first, and as many others as there are
/// descriptors for. Those that are not `done` then are to be carried out again.
template <class Store, class Digest>
void carry_out_uploads(Store& store, std::span<pending_request<Store, Digest>> requests) {
  const auto& first = requests.front();
  std::size_t most = requests.size();
  do {
    carry_out_some(store, requests, most);
    most /= 2;
  } while (most > 0 && !first.done && first.failed == std::errc::too_many_files_open);
}

/// Carries out the first of `requests`: uploads that follow each other, or downloads and queries,
/// until their replies are large enough. Returns how many are done.
template <class Store, class Digest>
std::size_t carry_out_first(Store& store, std::span<pending_request<Store, Digest>> requests) {
  std::size_t done = 0;
  if (requests.front().upload()) {
    carry_out_uploads(store, requests);
    while (done < requests.size() && requests[done].done) ++done;
    return done;
  }
  const auto end = std::chrono::steady_clock::now() + pending_slice;
  std::size_t reply_bytes = 0;
  while (done < requests.size() && !requests[done].upload() && reply_bytes < reply_buffer_size) {
    auto& request = requests[done];
    request.carry_out(store);
    if (!request.done) break;
    ++done;
    reply_bytes += request.reply.size();
    if (request.large_download() || std::chrono::steady_clock::now() >= end) break;
  }
  return done;
}

}  // namespace filexfer::detail

#endif
