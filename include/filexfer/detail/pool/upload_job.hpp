#ifndef FILEXFER_DETAIL_POOL_UPLOAD_JOB_HPP
#define FILEXFER_DETAIL_POOL_UPLOAD_JOB_HPP

// A job that uploads. Small files leave one behind the other; a large one, or one that broke, goes
// by itself, with a token by which the next attempt goes on where this one stops.

#include <filexfer/detail/pool/counted.hpp>
#include <filexfer/detail/pool/elements.hpp>
#include <filexfer/detail/pool/job.hpp>
#include <filexfer/detail/pool/result_taker.hpp>
#include <filexfer/detail/pool/routine.hpp>
#include <filexfer/detail/random_name.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/results.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/transfer.hpp>
#include <filexfer/transfer_progress.hpp>
#include <filexfer/transfer_types.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer::detail {

/// What an upload job keeps of a file.
template <class Clock>
struct upload_state : retry_state<Clock> {
  std::optional<file_progress> progress{};
  std::uint64_t size = 0;
  std::string token{};
  any_digest digest{};  ///< If it is known.
  bool began_afresh = false;

  template <class Result>
  void finish(Result& result) {
    if (result.size == 0) result.size = size;
    progress.reset();
  }
};

/// An element of `opened_files`.
template <class Source, class Digest>
struct upload_to_go {
  Source& source;
  upload_request<Digest> request;
};

/// The files of one operation, each of which is opened when it is its turn and closed behind its
/// last byte.
template <class Item>
class opened_files {
 public:
  /// `open_next` closes the file before and returns the next one; nullptr at the end.
  explicit opened_files(std::function<Item*()> open_next) : open_next_{std::move(open_next)} {}

  class iterator {
   public:
    explicit iterator(opened_files& all) : all_{&all}, item_{all.open_next_()} {}
    Item& operator*() const { return *item_; }
    iterator& operator++() {
      item_ = all_->open_next_();
      return *this;
    }
    bool operator==(std::default_sentinel_t) const { return item_ == nullptr; }

   private:
    opened_files* all_;
    Item* item_;
  };

  iterator begin() { return iterator{*this}; }
  std::default_sentinel_t end() const { return {}; }

 private:
  std::function<Item*()> open_next_;
};

template <class Core, class Range, class OnResult>
class upload_job : public transfer_job<Core, Range, upload_state<typename Core::clock>, OnResult> {
  using base = transfer_job<Core, Range, upload_state<typename Core::clock>, OnResult>;
  using typename base::record;
  using element_type = range_element_t<Range>;
  using source_type = std::remove_cvref_t<decltype(std::declval<element_type&>().open(
      std::declval<std::error_code&>()))>;
  using counted = counted_source<source_type>;

 public:
  using base::base;
  using typename base::worker;

 protected:
  using typename base::pointer;
  using typename base::result_type;
  ~upload_job() = default;

  flow<void> transfer(worker& w, pointer first, transfer_failure& lost) override {
    return w.connected->visit([&](auto& client) {
      return (first->alone || !seekable_source<source_type>)
                 ? this->send_alone(w, client, std::move(first), lost)
                 : this->send_in_turn(w, client, std::move(first), lost);
    });
  }

 private:
  template <class Result>
  friend class result_taker;

  /// A file that is open.
  struct opened {
    opened(element_type& element, std::error_code& ec) : source(element.open(ec)) {}
    source_type source;
    std::optional<counted> seen{};
  };

  /// Opens the file, for an attempt.
  template <class Digest>
  void begin(record& file, std::optional<opened>& place, upload_request<Digest>& request,
             std::error_code& ec) {
    ec.clear();
    place.emplace(file.element(), ec);
    if (ec) return;
    source_type& source = place->source;
    file.size = source.size();
    if (!file.progress) file.progress.emplace(this->core().progress, expected_size(file));
    file.progress->stop();
    place->seen.emplace(source, *file.progress, this->cancelled());
    request = {};
    request.name = file.element().name();
    if constexpr (requires { source.modified(); }) request.modified = source.modified();
    if (const auto id = known_id(file.element()); !id.empty()) file.digest = id;
    request.expected = file.digest.template as<Digest>();
    if constexpr (seekable_source<source_type>) {
      if (file.token.empty()) file.token = random_name();
      request.resume = file.token;
    }
  }

  std::optional<std::uint64_t> expected_size(record& file) {
    if constexpr (requires { file.element().expected_size(); }) {
      return file.element().expected_size();
    } else {
      return file.size;
    }
  }

  // ------------------------------------------------------------------------------- one by itself

  template <class Client>
  flow<void> send_alone(worker& w, Client& client, pointer file, transfer_failure& lost) {
    using hasher = typename Client::hasher_type;
    std::optional<opened> place;
    typename Client::upload_request request;
    work_call opening{this->core().work_executor, [&](std::error_code& ec) {
                        begin(*file, place, request, ec);
                        if constexpr (seekable_source<source_type>) {
                          // The server says what an attempt has left only to one who knows the
                          // digest.
                          if (!ec && file->alone && !request.expected) {
                            request.expected = hash_of<hasher>(*place->seen, ec);
                            if (!ec) file->digest = *request.expected;
                          }
                        }
                      }};
    co_await opening;
    if (opening.error()) {
      this->report_local(*file, opening.error());
      co_return;
    }
    file->progress->start(file->size);
    counted& source = *place->seen;
    auto uploading = make_call<typename Client::upload_result>(
        [&](auto handler) { client.async_upload(source, std::move(request), std::move(handler)); });
    co_await uploading;
    const auto result = uploading.value();
    w.bytes_moved += result.octets;
    work_call closing{this->core().work_executor, [&](std::error_code&) { place.reset(); }};
    co_await closing;
    const std::error_code ec = uploading.error();
    const bool in_step = client.usable();
    if (ec && !in_step && client.last_failure() != failure_origin::local &&
        seekable_source<source_type> && ec != errc::digest_mismatch) {
      lost = failure_of(*w.connected, ec);
      w.add(std::move(file));
      co_return;
    }
    judge(w, std::move(file), ec, result);
  }

  // ------------------------------------------------------------------- one behind the other

  template <class Client>
  flow<void> send_in_turn(worker& w, Client& client, pointer first, transfer_failure& lost) {
    using digest_type = typename Client::digest_type;
    using item = upload_to_go<counted, digest_type>;
    std::optional<opened> place;
    std::optional<item> current;
    std::size_t room = this->limit_for(w);
    const auto open_next = [&]() -> item* {
      current.reset();
      place.reset();
      while (room > 0) {
        pointer file = first ? std::move(first) : this->queue().next();
        if (!file) return nullptr;
        auto& element = file->element();
        const bool suits = !file->alone && !may_block(element);
        if (!suits) {
          this->queue().give_back(std::move(file));
          return nullptr;
        }
        --room;
        std::error_code ec = error_of_element(element);
        upload_request<digest_type> request;
        if (!ec) begin(*file, place, request, ec);
        if (ec) {
          w.add(std::move(file), ec);
          continue;
        }
        file->progress->start(file->size);
        current.emplace(item{*place->seen, std::move(request)});
        w.add(std::move(file));
        return &*current;
      }
      return nullptr;
    };
    opened_files<item> files{open_next};
    const result_taker<typename Client::upload_result> on_result{*this, w};
    auto uploading = make_call<>(
        [&](auto handler) { client.async_upload_all(files, on_result, std::move(handler)); });
    co_await uploading;
    work_call closing{this->core().work_executor, [&](std::error_code&) {
                        current.reset();
                        place.reset();
                      }};
    co_await closing;
    if (first) this->queue().give_back(std::move(first));
    if (uploading.error()) lost = failure_of(*w.connected, uploading.error());
  }

  // ------------------------------------------------------------------------------------- results

  template <class Result>
  void judge(worker& w, pointer file, std::error_code ec, const Result& result) {
    file->progress->stop();
    result_type told{file->element(), file->index, failure_of(*w.connected, ec)};
    told.moved = result.sent;
    told.computed_here = result.computed_here;
    told.computed_there = result.computed_there;
    told.size = file->size;
    told.name = base::name_of(*file);
    if (!ec || ec == errc::digest_mismatch) return this->report(*file, told);
    // What an earlier attempt had left there was not of this file, and is dropped now.
    if (ec == errc::mismatch && result.offset > 0 && !std::exchange(file->began_afresh, true)) {
      return this->retry_now(std::move(file));
    }
    if constexpr (seekable_source<source_type>) {
      return this->retry_or_report(std::move(file), told, result.octets);
    }
    this->report(*file, told);
  }
};

}  // namespace filexfer::detail

#endif
