#ifndef FILEXFER_DETAIL_FLOW_UPLOAD_BATCH_HPP
#define FILEXFER_DETAIL_FLOW_UPLOAD_BATCH_HPP

// Many uploads, and many queries whether the server holds a file, pipelined.

#include <filexfer/detail/flow/client_lists.hpp>
#include <filexfer/detail/flow/client_state.hpp>
#include <filexfer/detail/flow/client_uploads.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/detail/flow/pipeline.hpp>
#include <filexfer/detail/flow/transfer.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>
#include <filexfer/storage.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer::detail {

/// The next reply.
enum class reply_stage { prompt, ready, id };

template <class Digest>
struct upload_in_flight {
  upload_request<Digest> request;
  upload_result<Digest> result{};
  std::error_code error{};  ///< Local: nothing was sent, and no reply is expected.
  bool complete = false;    ///< All its bytes are prepared.
  reply_stage stage = reply_stage::prompt;

  template <class OnResult>
  void report(OnResult& on_result, std::error_code ec) const {
    on_result(request, ec, result);
  }
};

/// Uploads with `nowait`. A file of up to one batch is read completely before any of it is sent: if
/// it can't be read, the connection stays usable for the others.
template <hasher Hasher, class Files, class OnResult>
class upload_pipeline
    : public pipelined_requests<Files, upload_in_flight<typename Hasher::digest_type>, OnResult> {
  using digest_type = typename Hasher::digest_type;
  using upload = upload_in_flight<digest_type>;
  using base = pipelined_requests<Files, upload, OnResult>;
  using base::in_flight_;
  using base::prepared_;
  using base::state_;

 public:
  upload_pipeline(client_state& state, Files& files, OnResult& on_result)
      : base{state, files, on_result} {}

  bool can_prepare() const noexcept {
    return !needs_round_trip_ && !source_failed_ && base::can_prepare();
  }

  /// A file whose source failed after a part of it was sent gets no reply.
  bool expects_reply() const noexcept { return in_flight_.size() > (source_failed_ ? 1U : 0U); }

  void prepare(byte_buffer& out) {
    const std::size_t batch_size = buffer_size_for(state_.connection, usual_chunk_size);
    while (out.size() < batch_size && !this->batch_is_full() && !needs_round_trip_ &&
           !source_error_) {
      auto* const file = this->next();
      if (file == nullptr) break;
      if (remaining_ == 0) start_file(*file, out, batch_size);
      else continue_file(*file, out, batch_size - out.size());
    }
  }

  void on_sent() {
    if (completed_digest_) {
      in_flight_.back().complete = true;
      in_flight_.back().result.local_digest = *std::exchange(completed_digest_, std::nullopt);
    }
    base::on_sent();
    source_failed_ = static_cast<bool>(source_error_);
    this->report_unsent();
  }

  flow<void> on_reply(std::string_view line, std::error_code& ec) {
    upload& front = in_flight_.front();
    check_pipelined_reply(state_, line, front.stage != reply_stage::prompt, ec);
    if (ec && state_.synchronized) {
      state_.synchronized = false;
      const bool early = !front.complete;  // then the server closes
      report_front(std::exchange(ec, {}));
      if (early) fail(state_, failure_origin::peer, errc::truncated, ec);
      co_return;
    }
    if (ec) co_return;
    switch (front.stage) {
      case reply_stage::prompt: front.stage = reply_stage::ready; break;
      case reply_stage::ready: {
        const auto offset = parse_ready(line, ec).offset;
        if (ec || offset) fail_protocol(state_, ec);
        front.stage = reply_stage::id;
        break;
      }
      case reply_stage::id: {
        const auto id = digest_type::from_hex(line);
        if (id && front.complete) report_stored(front, *id);
        else fail_protocol(state_, ec);
      }
    }
  }

  /// Whether the next file is too large for `nowait`: it is uploaded alone, after all files before
  /// it have been answered.
  bool needs_round_trip() const noexcept { return needs_round_trip_; }
  auto& current() { return *this->next(); }
  void round_trip_done() noexcept {
    this->advance();
    needs_round_trip_ = false;
  }

  /// Whether the source of the last file failed after a part of it was sent. If so, reports that;
  /// the connection is unusable.
  bool source_failed(std::error_code& ec) {
    if (!source_failed_) return false;
    fail(state_, failure_origin::local, source_error_, ec);
    in_flight_.front().report(this->on_result_, ec);
    return true;
  }

 private:
  template <class File>
  void start_file(File& file, byte_buffer& out, std::size_t batch_size) {
    const std::uint64_t size = file.source.size();
    needs_round_trip_ = size > state_.options.max_nowait_size;
    if (needs_round_trip_) return;
    upload entry{file.request};
    const std::size_t old_size = out.size();
    if (is_name(file.request.name) && accepts_name(state_, file.request.name)) {
      upload_details<digest_type> details{file.request.name, size, file.request.expected};
      add_attributes(state_, details, file.request);
      details.nowait = true;
      append(out, std::string{to_string(command::upload)} + '\n');
      append(out, format_upload_details(details) + '\n');
      hash_ = Hasher{};
      remaining_ = size;
      entry.result.bytes = size;
      if (size <= batch_size) entry.error = read(file.source, out, size);
    } else {
      entry.error = errc::bad_name;
    }
    if (entry.error) {
      out.resize(old_size);
      remaining_ = 0;
    }
    entry.complete = remaining_ == 0;
    if (entry.complete) {
      entry.result.local_digest = hash_.finish();
      this->advance();
    }
    prepared_.push_back(std::move(entry));
  }

  /// Continues a file of which a part is prepared already.
  template <class File>
  void continue_file(File& file, byte_buffer& out, std::size_t max_bytes) {
    source_error_ = read(file.source, out, std::min<std::uint64_t>(remaining_, max_bytes));
    if (source_error_ || remaining_ > 0) return;
    completed_digest_ = hash_.finish();
    this->advance();
  }

  template <class Source>
  std::error_code read(Source& source, byte_buffer& out, std::uint64_t bytes) {
    const std::size_t old_size = out.size();
    out.resize(old_size + static_cast<std::size_t>(bytes));
    const std::span<std::byte> buffer = std::span{out}.subspan(old_size);
    const auto update = [this](std::span<const std::byte> part) { hash_.update(part); };
    fetching_state<Source, decltype(update)> fetching{source, update, remaining_, {}};
    std::error_code ec;
    fetch_call<decltype(fetching)>{fetching, buffer}(ec);
    if (ec) out.resize(old_size);
    remaining_ = fetching.left;
    return ec;
  }

  void report_stored(upload& front, const digest_type& id) {
    front.result.remote_digest = id;
    std::error_code differs;
    if (id != front.result.local_digest) {
      fail(state_, failure_origin::peer, errc::digest_mismatch, differs);
    }
    report_front(differs);
  }

  void report_front(std::error_code error) {
    base::report_front(error);
    this->report_unsent();
  }

  // Used by the preparing work; taken over by `on_sent`.
  Hasher hash_;
  std::uint64_t remaining_ = 0;  ///< Bytes of a partly prepared file.
  std::optional<digest_type> completed_digest_;
  std::error_code source_error_;  ///< Why the rest of that file can't be read.
  bool needs_round_trip_ = false;

  bool source_failed_ = false;
};

/// UPLOAD of all `files`, each after the reply to the previous one.
template <hasher Hasher, class Files, class OnResult>
flow<void> upload_one_by_one(client_state& state, Files& files, OnResult& on_result,
                             std::error_code& ec) {
  for (auto& file : files) {
    const auto result = co_await upload_file<Hasher>(state, file.source, file.request, ec);
    if (!report_and_continue(state, ec, [&] { on_result(file.request, ec, result); })) co_return;
  }
  state.synchronized = true;
}

/// UPLOAD of all `files`, pipelined.
template <hasher Hasher, class Files, class OnResult>
flow<void> upload_pipelined(client_state& state, Files& files, OnResult& on_result,
                            std::error_code& ec) {
  upload_pipeline<Hasher, Files, OnResult> pipeline{state, files, on_result};
  for (;;) {
    co_await run_pipeline(state, pipeline, ec);
    if (ec || pipeline.source_failed(ec)) co_return;
    if (!pipeline.needs_round_trip()) break;
    auto& file = pipeline.current();
    const auto result = co_await upload_file<Hasher>(state, file.source, file.request, ec);
    if (!report_and_continue(state, ec, [&] { on_result(file.request, ec, result); })) co_return;
    pipeline.round_trip_done();
  }
  state.synchronized = true;
}

/// UPLOAD of all `files`, pipelined if the driver and the server can.
template <hasher Hasher, class Files, class OnResult>
flow<void> upload_all(client_state& state, Files& files, OnResult on_result, std::error_code& ec) {
  operation entered{state, ec};
  if (!entered) co_return;
  bool pipelined = state.connection.can_pipeline;
  if (pipelined) co_await learn_features<Hasher>(state, ec);
  if (ec) co_return;
  pipelined = pipelined && state.features->nowait && state.features->version > 0;
  if (pipelined) co_await upload_pipelined<Hasher>(state, files, on_result, ec);
  else co_await upload_one_by_one<Hasher>(state, files, on_result, ec);
}

// --------------------------------------------------------------------------------------- queries

template <class Digest>
struct have_in_flight {
  name_request<Digest> request;
  std::error_code error{};  ///< Local: nothing was sent, and no reply is expected.
  bool prompt_received = false;
  bool held = false;

  template <class OnResult>
  void report(OnResult& on_result, std::error_code ec) const {
    on_result(request, ec, held);
  }
};

/// Uploads with `have`: queries whether the server holds a file.
template <hasher Hasher, class Files, class OnResult>
class have_pipeline
    : public pipelined_requests<Files, have_in_flight<typename Hasher::digest_type>, OnResult> {
  using digest_type = typename Hasher::digest_type;
  using query = have_in_flight<digest_type>;
  using base = pipelined_requests<Files, query, OnResult>;
  using base::state_;

 public:
  have_pipeline(client_state& state, Files& files, OnResult& on_result)
      : base{state, files, on_result} {}

  void prepare(byte_buffer& out) {
    this->prepare_batch(out, [&](auto& file) {
      query entry{file};
      if (!is_name(entry.request.name) || !accepts_name(state_, entry.request.name)) {
        entry.error = errc::bad_name;
        return entry;
      }
      append(out, std::string{to_string(command::upload)} + '\n');
      append(out, format_upload_details(details_of(state_, entry.request)) + '\n');
      return entry;
    });
  }

  void on_sent() {
    base::on_sent();
    this->report_unsent();
  }

  flow<void> on_reply(std::string_view line, std::error_code& ec) {
    query& front = this->in_flight_.front();
    check_pipelined_reply(state_, line, front.prompt_received, ec);
    if (ec && !state_.synchronized) co_return;
    if (!ec && !std::exchange(front.prompt_received, true)) co_return;
    front.held = !ec;
    if (front.held && digest_type::from_hex(line) != front.request.id) {
      fail_protocol(state_, ec);
      co_return;
    }
    state_.synchronized = false;
    if (ec == errc::not_found) ec.clear();
    this->report_front(std::exchange(ec, {}));
    this->report_unsent();
  }
};

/// Asks for each of `files` whether the server holds it, and adds the names of those that it holds.
template <hasher Hasher, class Files, class OnResult>
flow<void> add_names(client_state& state, Files& files, OnResult on_result, std::error_code& ec) {
  operation entered{state, ec};
  if (!entered) co_return;
  co_await learn_features<Hasher>(state, ec);
  if (ec) co_return;
  if (state.connection.can_pipeline && state.features->have && state.features->version > 0) {
    have_pipeline<Hasher, Files, OnResult> pipeline{state, files, on_result};
    co_await run_pipeline(state, pipeline, ec);
    state.synchronized = !ec;
    co_return;
  }
  for (auto& file : files) {
    const bool held = co_await query_have<Hasher>(state, file, ec);
    if (!report_and_continue(state, ec, [&] { on_result(file, ec, held); })) co_return;
  }
  state.synchronized = true;
}

}  // namespace filexfer::detail

#endif
