#ifndef FILEXFER_DETAIL_UPLOAD_BATCH_HPP
#define FILEXFER_DETAIL_UPLOAD_BATCH_HPP

// Many uploads, and many questions whether a file is there, sent ahead of their replies.

#include <filexfer/detail/client_flows.hpp>
#include <filexfer/detail/client_state.hpp>
#include <filexfer/detail/flow.hpp>
#include <filexfer/detail/send_ahead.hpp>
#include <filexfer/detail/transfer.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/results.hpp>
#include <filexfer/storage.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer::detail {

/// Which reply comes next.
enum class reply_stage { prompt, ready, id };

template <class Digest>
struct upload_in_flight {
  upload_request<Digest> request;
  upload_result<Digest> result{};
  std::error_code error{};  ///< Of this side: nothing was sent, and nothing comes.
  bool whole = false;       ///< All its bytes have been made ready.
  reply_stage stage = reply_stage::prompt;
};

/// Uploads with `nowait`. A file of up to a chunk is read whole before anything of it is sent, so
/// that one which can't be read costs the others nothing.
template <hasher Hasher, class Files, class OnResult>
class uploads_ahead : public requests_of<Files, upload_in_flight<typename Hasher::digest_type>> {
  using digest_type = typename Hasher::digest_type;
  using upload = upload_in_flight<digest_type>;
  using base = requests_of<Files, upload>;
  using base::filled_;
  using base::in_flight_;

 public:
  uploads_ahead(client_state& state, Files& files, OnResult& on_result)
      : base{files, state.options.max_in_flight}, state_{state}, on_result_{on_result} {}

  bool may_fill() const noexcept { return !waits_ && !torn_ && base::may_fill(); }

  /// No reply is waited for to a file that was torn.
  bool expects() const noexcept { return in_flight_.size() > (torn_ ? 1U : 0U); }

  void fill(byte_buffer& out) {
    filled_.clear();
    const std::size_t enough =
        buffer_size_for(state_.link, std::numeric_limits<std::uint64_t>::max());
    while (out.size() < enough && !this->is_full() && !waits_ && !tears_) {
      auto* const file = this->next();
      if (file == nullptr) break;
      if (left_ == 0) begin(*file, out, enough);
      else go_on(*file, out, enough - out.size());
    }
  }

  void leaves() {
    if (completed_) {
      in_flight_.back().whole = true;
      in_flight_.back().result.computed_here = *std::exchange(completed_, std::nullopt);
    }
    for (upload& one : filled_) in_flight_.push_back(std::move(one));
    torn_ = static_cast<bool>(tears_);
    tell_what_was_not_sent();
  }

  flow<void> take(std::string_view line, std::error_code& ec) {
    upload& first = in_flight_.front();
    judge_reply_ahead(state_, line, first.stage != reply_stage::prompt, ec);
    if (ec && state_.in_step) {
      state_.in_step = false;
      const bool early = !first.whole;  // then the server closes
      tell_first(std::exchange(ec, {}));
      if (early) blame(state_, failure_origin::peer, errc::truncated, ec);
      co_return;
    }
    if (ec) co_return;
    switch (first.stage) {
      case reply_stage::prompt: first.stage = reply_stage::ready; break;
      case reply_stage::ready: {
        const auto offset = parse_ready(line, ec).offset;
        if (ec || offset) break_off(state_, ec);
        first.stage = reply_stage::id;
        break;
      }
      case reply_stage::id: {
        const auto id = digest_type::from_hex(line);
        if (id && first.whole) tell_stored(first, *id);
        else break_off(state_, ec);
      }
    }
  }

  /// Whether the next file is to go the ordinary way, now that all before it are there.
  bool waits() const noexcept { return waits_; }
  auto& file() { return *this->next(); }
  void went() noexcept {
    this->pass();
    waits_ = false;
  }

  /// Whether the last file failed on this side when a part of it had left. It is told, and the
  /// connection is of no more use.
  bool is_torn(std::error_code& ec) {
    if (!torn_) return false;
    blame(state_, failure_origin::local, tears_, ec);
    on_result_(in_flight_.front().request, ec, in_flight_.front().result);
    return true;
  }

 private:
  template <class File>
  void begin(File& file, byte_buffer& out, std::size_t enough) {
    const std::uint64_t size = file.source.size();
    waits_ = size > state_.options.max_nowait_size;
    if (waits_) return;
    upload one{file.request};
    const std::size_t begins_at = out.size();
    if (is_name(file.request.name)) {
      upload_details<digest_type> details{file.request.name, size, file.request.expected};
      if (state_.features->mtime) details.modified = file.request.modified;
      details.nowait = true;
      append(out, std::string{to_string(command::upload)} + '\n');
      append(out, format_upload_details(details) + '\n');
      hash_ = Hasher{};
      left_ = size;
      one.result.bytes = size;
      if (size <= enough) one.error = read(file.source, out, size);
    } else {
      one.error = errc::bad_name;
    }
    if (one.error) {
      out.resize(begins_at);
      left_ = 0;
    }
    one.whole = left_ == 0;
    if (one.whole) {
      one.result.computed_here = hash_.finish();
      this->pass();
    }
    filled_.push_back(std::move(one));
  }

  /// With a file of which a part was made ready.
  template <class File>
  void go_on(File& file, byte_buffer& out, std::size_t most) {
    tears_ = read(file.source, out, std::min<std::uint64_t>(left_, most));
    if (tears_ || left_ > 0) return;
    completed_ = hash_.finish();
    this->pass();
  }

  template <class Source>
  std::error_code read(Source& source, byte_buffer& out, std::uint64_t bytes) {
    const std::size_t begins_at = out.size();
    out.resize(begins_at + static_cast<std::size_t>(bytes));
    const std::span<std::byte> into = std::span{out}.subspan(begins_at);
    const auto see = [this](std::span<const std::byte> part) { hash_.update(part); };
    fetching_state<Source, decltype(see)> fetching{source, see, left_, {}};
    std::error_code ec;
    fetch_call<decltype(fetching)>{fetching, into}(ec);
    if (ec) out.resize(begins_at);
    left_ = fetching.left;
    return ec;
  }

  void tell_stored(upload& first, const digest_type& id) {
    first.result.computed_there = id;
    std::error_code differs;
    if (id != first.result.computed_here) {
      blame(state_, failure_origin::peer, errc::digest_mismatch, differs);
    }
    tell_first(differs);
  }

  void tell_first(std::error_code error) {
    const upload first = std::move(in_flight_.front());
    in_flight_.pop_front();
    on_result_(first.request, error, first.result);
    state_.origin = failure_origin::none;
    tell_what_was_not_sent();
  }

  void tell_what_was_not_sent() {
    while (!in_flight_.empty() && in_flight_.front().error) {
      const upload first = std::move(in_flight_.front());
      in_flight_.pop_front();
      state_.origin = failure_origin::local;
      on_result_(first.request, first.error, first.result);
      state_.origin = failure_origin::none;
    }
  }

  client_state& state_;
  OnResult& on_result_;

  // Of what is made ready, in work; handed over by `leaves`.
  Hasher hash_;
  std::uint64_t left_ = 0;  ///< Of a file of which a part was made ready.
  std::optional<digest_type> completed_;
  std::error_code tears_;  ///< Why no more of that file can be had.
  bool waits_ = false;

  bool torn_ = false;
};

/// UPLOAD of all that `files` has, each after the one before.
template <hasher Hasher, class Files, class OnResult>
flow<void> upload_in_turn(client_state& state, Files& files, OnResult& on_result,
                          std::error_code& ec) {
  for (auto& file : files) {
    const auto result = co_await upload_one<Hasher>(state, file.source, file.request, ec);
    if (!goes_on_after(state, ec, [&] { on_result(file.request, ec, result); })) co_return;
  }
  state.in_step = true;
}

/// UPLOAD of all that `files` has, sent ahead.
template <hasher Hasher, class Files, class OnResult>
flow<void> upload_ahead(client_state& state, Files& files, OnResult& on_result,
                        std::error_code& ec) {
  uploads_ahead<Hasher, Files, OnResult> ahead{state, files, on_result};
  for (;;) {
    co_await send_ahead(state, ahead, ec);
    if (ec || ahead.is_torn(ec)) co_return;
    if (!ahead.waits()) break;
    auto& file = ahead.file();
    const auto result = co_await upload_one<Hasher>(state, file.source, file.request, ec);
    if (!goes_on_after(state, ec, [&] { on_result(file.request, ec, result); })) co_return;
    ahead.went();
  }
  state.in_step = true;
}

/// UPLOAD of all that `files` has, ahead if the driver and the server take that.
template <hasher Hasher, class Files, class OnResult>
flow<void> upload_all(client_state& state, Files& files, OnResult on_result, std::error_code& ec) {
  operation entered{state, ec};
  if (!entered) co_return;
  bool ahead = state.link.sends_ahead;
  if (ahead) co_await learn_features<Hasher>(state, ec);
  if (ec) co_return;
  ahead = ahead && state.features->nowait && state.features->version > 0;
  if (ahead) co_await upload_ahead<Hasher>(state, files, on_result, ec);
  else co_await upload_in_turn<Hasher>(state, files, on_result, ec);
}

// --------------------------------------------------------------------------------------- questions

template <class Digest>
struct question_in_flight {
  name_request<Digest> request;
  bool was_prompted = false;
};

/// Uploads with `have`: whether a file is there already.
template <hasher Hasher, class Files, class OnResult>
class questions_ahead
    : public requests_of<Files, question_in_flight<typename Hasher::digest_type>> {
  using digest_type = typename Hasher::digest_type;
  using question = question_in_flight<digest_type>;
  using base = requests_of<Files, question>;
  using base::filled_;
  using base::in_flight_;

 public:
  questions_ahead(client_state& state, Files& files, OnResult& on_result)
      : base{files, state.options.max_in_flight}, state_{state}, on_result_{on_result} {}

  void fill(byte_buffer& out) {
    filled_.clear();
    while (!this->is_full()) {
      auto* const file = this->next();
      if (file == nullptr) break;
      filled_.push_back({*file});
      this->pass();
      const name_request<digest_type>& asked = filled_.back().request;
      if (!is_name(asked.name)) continue;
      append(out, std::string{to_string(command::upload)} + '\n');
      append(out, format_upload_details(details_of(state_, asked)) + '\n');
    }
  }

  void leaves() {
    for (question& one : filled_) in_flight_.push_back(std::move(one));
    tell_what_was_not_asked();
  }

  flow<void> take(std::string_view line, std::error_code& ec) {
    question& first = in_flight_.front();
    judge_reply_ahead(state_, line, first.was_prompted, ec);
    if (ec && !state_.in_step) co_return;
    if (!ec && !std::exchange(first.was_prompted, true)) co_return;
    const bool held = !ec;
    if (held && digest_type::from_hex(line) != first.request.id) {
      break_off(state_, ec);
      co_return;
    }
    state_.in_step = false;
    if (ec == errc::not_found) ec.clear();
    tell_first(std::exchange(ec, {}), held);
  }

 private:
  void tell_first(std::error_code error, bool held) {
    const question first = std::move(in_flight_.front());
    in_flight_.pop_front();
    if (!error) state_.origin = failure_origin::none;
    on_result_(first.request, error, held);
    state_.origin = failure_origin::none;
    tell_what_was_not_asked();
  }

  void tell_what_was_not_asked() {
    while (!in_flight_.empty() && !is_name(in_flight_.front().request.name)) {
      const question first = std::move(in_flight_.front());
      in_flight_.pop_front();
      state_.origin = failure_origin::local;
      on_result_(first.request, make_error_code(errc::bad_name), false);
      state_.origin = failure_origin::none;
    }
  }

  client_state& state_;
  OnResult& on_result_;
};

/// Asks of all that `files` has whether the server holds it, and adds the names.
template <hasher Hasher, class Files, class OnResult>
flow<void> add_names(client_state& state, Files& files, OnResult on_result, std::error_code& ec) {
  operation entered{state, ec};
  if (!entered) co_return;
  co_await learn_features<Hasher>(state, ec);
  if (ec) co_return;
  if (state.link.sends_ahead && state.features->have && state.features->version > 0) {
    questions_ahead<Hasher, Files, OnResult> ahead{state, files, on_result};
    co_await send_ahead(state, ahead, ec);
    state.in_step = !ec;
    co_return;
  }
  for (auto& file : files) {
    const bool held = co_await ask_for<Hasher>(state, file, ec);
    if (!goes_on_after(state, ec, [&] { on_result(file, ec, held); })) co_return;
  }
  state.in_step = true;
}

}  // namespace filexfer::detail

#endif
