#ifndef FILEXFER_DETAIL_DOWNLOAD_BATCH_HPP
#define FILEXFER_DETAIL_DOWNLOAD_BATCH_HPP

// Many downloads, asked for ahead of their bytes.

#include <filexfer/detail/client_flows.hpp>
#include <filexfer/detail/client_state.hpp>
#include <filexfer/detail/flow.hpp>
#include <filexfer/detail/send_ahead.hpp>
#include <filexfer/detail/transfer.hpp>
#include <filexfer/batch.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace filexfer::detail {

/// Bytes of a file that can't be kept that are read all the same, for those behind it.
inline constexpr std::uint64_t max_dropped_size = std::uint64_t{1024} * 1024;

/// Small files that have arrived and wait to be committed together, at most. It is the hand-over to
/// the work executor that costs.
inline constexpr std::size_t gathered_files = 16;
/// How long one piece of work goes on committing.
inline constexpr std::chrono::milliseconds committing_time{10};

template <class File>
struct download_in_flight {
  File* file;
  bool was_prompted = false;
};

template <hasher Hasher, class Files, class OnResult>
class downloads_ahead : public requests_of<Files, download_in_flight<element_of<Files>>> {
  using digest_type = typename Hasher::digest_type;
  using file_type = element_of<Files>;
  using base = requests_of<Files, download_in_flight<file_type>>;
  using base::filled_;
  using base::in_flight_;

 public:
  downloads_ahead(client_state& state, Files& files, OnResult& on_result)
      : base{files, state.options.max_in_flight}, state_{state}, on_result_{on_result} {}

  void fill(byte_buffer& out) {
    filled_.clear();
    while (!this->is_full()) {
      auto* const file = this->next();
      if (file == nullptr) break;
      filled_.push_back({file});
      this->pass();
      append(out, std::string{to_string(command::download)} + '\n');
      append(out, format_download_request(request_of(*file)) + '\n');
    }
  }

  void leaves() { in_flight_.insert(in_flight_.end(), filled_.begin(), filled_.end()); }

  flow<void> take(std::string_view line, std::error_code& ec) {
    auto& first = in_flight_.front();
    judge_reply_ahead(state_, line, first.was_prompted, ec);
    if (!ec && !std::exchange(first.was_prompted, true)) co_return;
    file_type& file = *first.file;
    download_result<digest_type> result;
    if (!ec) {
      auto entry = judge_entry(state_, line, request_of(file), ec);
      // Nothing that has arrived waits for the stream.
      if (!ec && state_.link.in.size() < entry.bytes()) co_await finish(ec);
      if (!ec) result = co_await receive(file, std::move(entry), ec);
    }
    if (!ec) {
      in_flight_.pop_front();
      arrived_.push_back({&file, std::move(result), {}});
      if (arrived_.size() >= gathered_files) co_await finish(ec);
      co_return;
    }
    const std::error_code failed = ec;
    const failure_origin origin = state_.origin;
    const bool in_step = state_.in_step;
    co_await finish(ec);
    blame(state_, origin, failed, ec);
    state_.in_step = in_step;
    if (in_step || origin == failure_origin::local) in_flight_.pop_front();
    goes_on_after(state_, ec, [&] { on_result_(file, ec, result); });
  }

  /// Commits what has arrived, and tells it.
  flow<void> finish(std::error_code& ec) {
    if (arrived_.empty()) co_return;
    std::size_t next = 0;
    work committing{[&](std::error_code&) {
      const auto end = std::chrono::steady_clock::now() + committing_time;
      do {
        commit(arrived_[next++]);
      } while (next < arrived_.size() && std::chrono::steady_clock::now() < end);
    }};
    while (next < arrived_.size() && !committing.error()) co_await perform(committing);
    ec = committing.error();  // it was cancelled
    arrived_.resize(next);
    for (arrived_file& one : std::exchange(arrived_, {})) {
      state_.origin = one.failed ? failure_origin::local : failure_origin::none;
      on_result_(*one.file, one.failed, one.result);
    }
    state_.origin = failure_origin::none;
    state_.in_step = false;
  }

 private:
  /// A file whose digest is right.
  struct arrived_file {
    file_type* file;
    download_result<digest_type> result;
    std::error_code failed;  ///< To be committed.
  };

  static void commit(arrived_file& one) noexcept {
    try {
      one.file->sink.commit(one.failed);
    } catch (...) {
      one.failed = error_of(std::current_exception());
    }
  }

  download_request<digest_type> request_of(const file_type& file) const {
    download_request<digest_type> wanted{file.id, std::nullopt, std::nullopt};
    wanted.mtime = state_.features->mtime;
    return wanted;
  }

  flow<download_result<digest_type>> receive(file_type& file, download_entry<digest_type> entry,
                                             std::error_code& ec) {
    const std::uint64_t count = entry.bytes();
    Hasher hash;
    auto result = co_await receive_file(state_, file.sink, hash, std::move(entry), ec);
    const std::uint64_t left = count - result.bytes;
    const bool failed_here = ec && !state_.in_step && state_.origin == failure_origin::local;
    if (failed_here && left <= max_dropped_size) {
      const std::error_code why = ec;
      co_await drop_bytes(state_.link, left, ec);
      if (ec) state_.origin = failure_origin::stream;
      else decline(state_, failure_origin::local, why, ec);
    }
    co_return result;
  }

  client_state& state_;
  OnResult& on_result_;
  std::vector<arrived_file> arrived_;
};

/// DOWNLOAD of all that `files` has.
template <hasher Hasher, class Files, class OnResult>
flow<void> download_all(client_state& state, Files& files, OnResult on_result,
                        std::error_code& ec) {
  operation entered{state, ec};
  if (!entered) co_return;
  co_await learn_features<Hasher>(state, ec);
  if (ec) co_return;
  if (state.link.sends_ahead && state.features->version > 0) {
    downloads_ahead<Hasher, Files, OnResult> ahead{state, files, on_result};
    state.link.in.widen();
    co_await send_ahead(state, ahead, ec);
    state.link.in.narrow();
    state.in_step = !ec;
    co_return;
  }
  for (auto& file : files) {
    const auto result = co_await download_one<Hasher>(state, file.id, file.sink, ec);
    if (!goes_on_after(state, ec, [&] { on_result(file, ec, result); })) co_return;
  }
  state.in_step = true;
}

}  // namespace filexfer::detail

#endif
