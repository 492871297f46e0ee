#ifndef FILEXFER_DETAIL_FLOW_DOWNLOAD_BATCH_HPP
#define FILEXFER_DETAIL_FLOW_DOWNLOAD_BATCH_HPP

// Many downloads, pipelined.

#include <filexfer/detail/flow/client_downloads.hpp>
#include <filexfer/detail/flow/client_lists.hpp>
#include <filexfer/detail/flow/client_state.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/flow/pipeline.hpp>
#include <filexfer/detail/flow/transfer.hpp>
#include <filexfer/batch.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/publication.hpp>
#include <filexfer/results.hpp>

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

/// Files up to this size are received into the line buffer, with what follows them.
inline constexpr std::size_t max_buffered_size = wide_buffer_size / 4;

/// When a file can't be stored locally, up to this many bytes of it are read and dropped, so that
/// the files after it can be received.
inline constexpr std::uint64_t max_dropped_size = std::uint64_t{1024} * 1024;

template <class File>
struct download_in_flight {
  File* file;
  bool prompt_received = false;
};

/// While files arrive, earlier ones are committed: those that have arrived meanwhile are the next
/// to be.
template <hasher Hasher, class Files, class OnResult>
class download_pipeline
    : public pipelined_requests<Files, download_in_flight<element_of<Files>>, OnResult> {
  using digest_type = typename Hasher::digest_type;
  using file_type = element_of<Files>;
  using base = pipelined_requests<Files, download_in_flight<file_type>, OnResult>;
  using base::in_flight_;
  using base::on_result_;
  using base::state_;

 public:
  download_pipeline(client_state& state, Files& files, OnResult& on_result)
      : base{state, files, on_result} {}

  void prepare(byte_buffer& out) {
    this->prepare_batch(out, [&](file_type& file) {
      append(out, std::string{to_string(command::download)} + '\n');
      append(out, format_download_request(request_for<digest_type>(state_, file.id)) + '\n');
      return download_in_flight<file_type>{&file};
    });
  }

  flow<void> on_reply(std::string_view line, std::error_code& ec) {
    auto& front = in_flight_.front();
    check_pipelined_reply(state_, line, front.prompt_received, ec);
    if (!ec && !std::exchange(front.prompt_received, true)) co_return;
    file_type& file = *front.file;
    download_result<digest_type> result;
    if (!ec) {
      auto entry = check_entry(state_, line, request_for<digest_type>(state_, file.id), ec);
      if (!ec) co_await buffer_bytes(entry.bytes(), ec);
      if (!ec) result = co_await receive(file, std::move(entry), ec);
    }
    if (!ec) {
      state_.synchronized = false;
      in_flight_.pop_front();
      arrived_.push_back({&file, std::move(result), {}});
      if (arrived_.size() < max_commit_batch) co_return;
      co_await on_work_ended(ec);
      if (!ec) co_await on_drained(ec);
      co_return;
    }
    const std::error_code failed = ec;
    const failure_origin origin = state_.origin;
    co_await finish(ec);
    if (ec) co_return;
    fail(state_, origin, failed, ec);
    if (state_.synchronized || origin == failure_origin::local) in_flight_.pop_front();
    report_and_continue(state_, ec, [&] { on_result_(file, ec, result); });
  }

  /// Starts to commit the files that have arrived, unless others are being committed.
  flow<void> on_drained(std::error_code&) {
    if (arrived_.empty() || !in_commit_.empty()) co_return;
    in_commit_ = std::exchange(arrived_, {});
    co_await start(committing_);
  }

  work_base* pending_work() noexcept { return in_commit_.empty() ? nullptr : &committing_; }

  /// Waits until the files that are being committed are, and reports them.
  flow<void> on_work_ended(std::error_code& ec) {
    co_await wait_for(pending_work());
    const auto files = std::exchange(in_commit_, {});
    if (!files.empty()) ec = committing_.error();  // set if the work was cancelled
    if (ec) co_return;
    for (const arrived_file& entry : files) {
      state_.origin = entry.failed ? failure_origin::local : failure_origin::none;
      on_result_(*entry.file, entry.failed, entry.result);
    }
    state_.origin = failure_origin::none;
  }

  /// Commits and reports all files that have arrived.
  flow<void> finish(std::error_code& ec) {
    const failure_origin origin = state_.origin;
    ec.clear();
    co_await on_work_ended(ec);
    if (!ec) co_await on_drained(ec);
    if (!ec) co_await on_work_ended(ec);
    state_.origin = origin;
  }

 private:
  /// A file that has arrived, with the right digest.
  struct arrived_file {
    file_type* file;
    download_result<digest_type> result;
    std::error_code failed;  ///< Of its commit.
  };

  /// Commits files, those together that can be, and sets `failed` of each.
  static void commit(std::vector<arrived_file>& files) {
    std::vector<publication*> left;
    std::vector<arrived_file*> owners;
    for (arrived_file& entry : files) {
      try {
        auto& sink = entry.file->sink;
        publication* rest = nullptr;
        if constexpr (group_commit_sink<std::remove_reference_t<decltype(sink)>>) {
          rest = sink.begin_commit(entry.failed);
        } else {
          sink.commit(entry.failed);
        }
        if (rest == nullptr) continue;
        left.push_back(rest);
        owners.push_back(&entry);
      } catch (...) {
        entry.failed = error_of(std::current_exception());
      }
    }
    std::vector<std::error_code> errors(left.size());
    publish_all(left, errors);
    for (std::size_t i = 0; i < left.size(); ++i) owners[i]->failed = errors[i];
  }

  /// Before a wait for a file's bytes: receives those of a small one into the buffer, as long as
  /// files are being committed, and reports those. Before a large one all are committed and
  /// reported.
  flow<void> buffer_bytes(std::uint64_t count, std::error_code& ec) {
    connection& c = state_.connection;
    if (c.in.size() >= count || c.read_error) co_return;
    if (count > max_buffered_size) {
      co_await finish(ec);
      co_return;
    }
    do {
      co_await on_drained(ec);
      const bool committed =
          co_await read_or_wait_for(c, pending_work(), deadline::idle, interruptible::no, ec);
      if (committed && !ec) co_await on_work_ended(ec);
      if (!ec) ec = c.read_error;
    } while (!ec && c.in.size() < count && (pending_work() || !c.pending_read.empty()));
    if (ec == errc::end_of_stream) fail(state_, failure_origin::peer, errc::truncated, ec);
  }

  flow<download_result<digest_type>> receive(file_type& file, download_entry<digest_type> entry,
                                             std::error_code& ec) {
    const std::uint64_t count = entry.bytes();
    Hasher hash;
    auto result = co_await receive_file(state_, file.sink, hash, std::move(entry), ec);
    const std::uint64_t left = count - result.bytes;
    const bool failed_locally =
        ec && !state_.synchronized && state_.origin == failure_origin::local;
    if (failed_locally && left <= max_dropped_size) {
      const std::error_code why = ec;
      co_await drop_bytes(state_.connection, left, ec);
      if (ec) state_.origin = failure_origin::stream;
      else fail_synchronized(state_, failure_origin::local, why, ec);
    }
    co_return result;
  }

  struct commit_call {
    std::vector<arrived_file>& files;
    void operator()(std::error_code&) const { commit(files); }
  };

  std::vector<arrived_file> arrived_;
  std::vector<arrived_file> in_commit_;  ///< By `committing_`, until that was waited for.
  work<commit_call> committing_{{in_commit_}};
};

/// DOWNLOAD of all `files`, pipelined if the driver and the server can.
template <hasher Hasher, class Files, class OnResult>
flow<void> download_all(client_state& state, Files& files, OnResult on_result,
                        std::error_code& ec) {
  operation entered{state, ec};
  if (!entered) co_return;
  co_await learn_features<Hasher>(state, ec);
  if (ec) co_return;
  if (state.connection.can_pipeline && state.features->version > 0) {
    download_pipeline<Hasher, Files, OnResult> pipeline{state, files, on_result};
    state.connection.in.widen();
    co_await run_pipeline(state, pipeline, ec);
    if (!ec) state.connection.in.narrow();  // else a read into it may be pending
    state.synchronized = !ec;
    co_return;
  }
  for (auto& file : files) {
    const auto result = co_await download_file<Hasher>(state, file.id, file.sink, ec);
    if (!report_and_continue(state, ec, [&] { on_result(file, ec, result); })) co_return;
  }
  state.synchronized = true;
}

}  // namespace filexfer::detail

#endif
