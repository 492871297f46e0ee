#ifndef FILEXFER_DETAIL_POOL_DOWNLOAD_JOB_HPP
#define FILEXFER_DETAIL_POOL_DOWNLOAD_JOB_HPP

// A job that downloads. Small files are asked for one behind the other; a large one, or one that
// broke, comes by itself, and goes on with the part that its sink has kept.

#include <filexfer/detail/pool/counted.hpp>
#include <filexfer/detail/pool/digests.hpp>
#include <filexfer/detail/pool/elements.hpp>
#include <filexfer/detail/pool/job.hpp>
#include <filexfer/detail/pool/result_taker.hpp>
#include <filexfer/detail/pool/routine.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/error.hpp>
#include <filexfer/results.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/transfer.hpp>
#include <filexfer/transfer_progress.hpp>
#include <filexfer/transfer_types.hpp>

#include <any>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

/// A file's sink, which is opened when its file is announced, unless it was before.
class late_sink {
 public:
  /// Both outlive it.
  late_sink(any_download& element, file_progress& progress) noexcept
      : element_{element}, progress_{progress} {}

  /// What it holds is gone on with.
  void open(std::error_code& ec) {
    opened_ = element_.open(ec);
    if (ec) opened_.reset();
  }

  template <class Digest>
  void announce(const file_info<Digest>& file, std::error_code& ec) {
    ec.clear();
    if (!opened_) {  // the whole file comes
      open(ec);
      if (!ec && held() > 0) drop_held(ec);
    }
    if (!ec) opened_->announce({file.id, file.name, file.size, file.modified}, ec);
    if (ec) return;
    was_announced_ = true;
    progress_.start(file.size);
    progress_.seek(held());
  }

  bool was_announced() const noexcept { return was_announced_; }

  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    opened_->write(bytes, ec);
    progress_.moved(bytes.size());
  }

  void commit(std::error_code& ec) { opened_->commit(ec); }

  std::uint64_t held() const { return opened_ ? opened_->held() : 0; }

  std::size_t read_held(std::span<std::byte> to, std::uint64_t offset, std::error_code& ec) {
    return opened_->read_held(to, offset, ec);
  }

  void drop_held(std::error_code& ec) {
    ec.clear();
    hash_.reset();
    if (opened_) opened_->drop_held(ec);
  }

  /// A hash of what is held, if an earlier attempt has left one; of how many bytes it is.
  template <class Hasher>
  std::uint64_t take_hash(Hasher& hash) {
    const auto* const left = std::any_cast<Hasher>(&hash_);
    if (left == nullptr) return 0;
    hash = *left;
    return held();
  }
  /// That is of all that is held.
  template <class Hasher>
  void leave_hash(const Hasher& hash) {
    hash_ = hash;
  }

  /// An attempt has failed: what came is for the next one.
  void keep() {
    if (opened_) opened_->keep();
    close();
  }

  void close() { opened_.reset(); }

 private:
  any_download& element_;
  file_progress& progress_;
  std::unique_ptr<any_sink> opened_;
  std::any hash_;  ///< A hasher.
  bool was_announced_ = false;
};

/// What a download job keeps of a file.
template <class Clock>
struct download_record : file_record<any_download, Clock> {
  bool part_was_wrong = false;
  bool was_compared = false;  ///< With what is where it is to come to, which is another file.
  /// Where it comes to, from an attempt at which the server said nothing. That may have been for
  /// the time that it took to read the file that is there, or the part: it is not read again.
  std::optional<late_sink> kept_open{};

  ~download_record() { finish(); }

  bool has_received() const noexcept { return this->position() > 0; }

  void finish(transfer_outcome&) { finish(); }

 private:
  void finish() noexcept {
    try {
      if (kept_open) kept_open->keep();
    } catch (...) {  // it is an attempt less that the next one goes on with
    }
    kept_open.reset();
    this->progress.reset();
  }
};

/// An element of one operation for many files.
template <class Digest>
struct download_to_come {
  Digest id;
  late_sink sink;
};

template <class Core>
class download_job : public transfer_job<Core, download_record<typename Core::clock>> {
  using base = transfer_job<Core, download_record<typename Core::clock>>;

 public:
  using base::base;
  using typename base::record;
  using typename base::worker;

 protected:
  using typename base::pointer;
  ~download_job() = default;

  flow<void> transfer(worker& w, pointer first, transfer_failure& lost) override {
    return w.connected->visit([&](auto& client) {
      return is_batched(*first) ? this->fetch_some(w, client, std::move(first), lost)
                                : this->download_alone(w, client, std::move(first), lost);
    });
  }

 private:
  template <class Result>
  friend class result_taker;

  /// A file of which nothing is to come.
  struct found_here {
    pointer file;
    std::error_code error;
    bool foreign = false;
  };

  bool is_batched(record& file) {
    const auto size = file.size();
    return !file.alone && size && *size <= this->core().options.max_batched_size;
  }

  /// Whether the server will say no another time, too.
  static bool is_final_refusal(std::error_code ec) {
    return ec == condition::refused && ec != condition::may_pass;
  }

  /// Whether the file that is to come is where it is to come to. On the work executor.
  template <class Hasher>
  bool is_present(record& file, std::error_code& ec) try {
    const auto size = file.size();
    if (!file.progress) file.progress.emplace(this->core().progress, size);
    file.progress->stop();
    const auto found = file.existing(ec);
    ec.clear();
    if (!found || (size && *size != found->size())) return false;
    counted_source source{*found, *file.progress, this->cancelled()};
    const any_digest digest = digest_of<Hasher>(this->core().digests.get(), *found, source, ec);
    const bool same = !ec && digest == file.id();
    ec.clear();
    if (same) file.settle(ec);
    return same;
  } catch (...) {
    ec = error_of(std::current_exception());
    return false;
  }

  void report_present(record& file, std::error_code ec) {
    if (ec) return this->report_local(file, ec);
    transfer_outcome told{file.index};
    told.computed_here = told.computed_there = file.id();
    told.size = file.size().value_or(0);
    told.name = file.name();
    this->report(file, std::move(told));
  }

  void report_unknown_id(record& file) {
    this->report_failure(file, {errc::digest_changed, failure_origin::peer});
  }

  // ------------------------------------------------------------------------------- one by itself

  template <class Client>
  flow<void> download_alone(worker& w, Client& client, pointer file, transfer_failure& lost) {
    using digest_type = typename Client::digest_type;
    using hasher = typename Client::hasher_type;
    const auto id = file->id().template as<digest_type>();
    if (!id) {
      report_unknown_id(*file);
      co_return;
    }
    bool there = false;
    std::optional<late_sink>& place = file->kept_open;
    work_call opening{this->core().work_executor, [&](std::error_code& ec) {
                        if (place) return;
                        there = !file->was_compared && is_present<hasher>(*file, ec);
                        if (there || ec) return;
                        file->was_compared = true;
                        place.emplace(*file, *file->progress);
                        place->open(ec);
                        if (ec == errc::file_exists) {  // it has come since
                          std::error_code unsettled;
                          there = is_present<hasher>(*file, unsettled);
                          if (there) ec = unsettled;
                        }
                        if (there || ec) place.reset();
                      }};
    co_await opening;
    if (there || opening.error()) {
      if (there) report_present(*file, opening.error());
      else this->report_local(*file, opening.error());
      co_return;
    }
    const bool had_part = place->held() > 0;
    late_sink& sink = *place;
    auto fetching = make_call<typename Client::download_result>(
        [&](auto handler) { client.async_download(*id, sink, std::move(handler)); });
    co_await fetching;
    const auto result = fetching.value();
    w.bytes_moved += result.bytes;
    const std::error_code ec = fetching.error();
    const auto origin = client.last_failure();
    const bool wrong_part = had_part && (ec == errc::digest_mismatch || is_final_refusal(ec)) &&
                            !std::exchange(file->part_was_wrong, true);
    const bool keeps =
        ec && !wrong_part && origin != failure_origin::local && ec != errc::digest_mismatch;
    const bool is_lost = ec && !client.usable() && origin != failure_origin::local;
    bool came = false;
    work_call closing{this->core().work_executor, [&](std::error_code& unsettled) {
                        if (is_lost && keeps && !place->was_announced()) return;
                        if (keeps) place->keep();
                        place.reset();
                        if (ec == errc::file_exists && origin == failure_origin::local) {
                          came = is_present<hasher>(*file, unsettled);
                        }
                      }};
    co_await closing;
    file->progress->stop();
    if (came) {
      report_present(*file, closing.error());
    } else if (wrong_part) {
      this->retry_now(std::move(file));
    } else if (is_lost) {
      lost = failure_of(*w.connected, ec);
      w.add(std::move(file));
    } else {
      conclude(w, std::move(file), ec, result);
    }
  }

  // ------------------------------------------------------------------------------------- results

  template <class Result>
  void conclude(worker& w, pointer file, std::error_code ec, const Result& result) {
    file->progress->stop();
    transfer_outcome told{file->index, failure_of(*w.connected, ec)};
    told.moved = true;
    told.computed_here = result.computed_here;
    told.computed_there = file->id();
    told.size = result.file.size;
    told.name = result.file.name;
    if (!ec || ec == errc::digest_mismatch) return this->report(*file, std::move(told));
    if (ec == errc::file_exists && !file->alone) return this->retry_now(std::move(file));
    this->retry_or_report(std::move(file), std::move(told), result.bytes);
  }

  // ---------------------------------------------------------------------- one behind the other

  template <class Client>
  flow<void> fetch_some(worker& w, Client& client, pointer first, transfer_failure& lost) {
    using digest_type = typename Client::digest_type;
    using hasher = typename Client::hasher_type;
    using item = download_to_come<digest_type>;
    std::deque<item> files;
    std::vector<found_here> found;
    std::size_t room = this->limit_for(w);
    work_call gathering{this->core().work_executor, [&](std::error_code&) {
                          while (room > 0) {
                            pointer file = first ? std::move(first) : this->queue().next();
                            if (!file) return;
                            if (const auto error = file->error()) {
                              found.push_back({std::move(file), error});
                              continue;
                            }
                            if (file->blocks() || !is_batched(*file)) {
                              this->queue().put_back(std::move(file));
                              return;
                            }
                            --room;
                            const auto id = file->id().template as<digest_type>();
                            std::error_code ec;
                            if (!id) {
                              found.push_back({std::move(file), {}, true});
                            } else if (is_present<hasher>(*file, ec) || ec) {
                              found.push_back({std::move(file), ec});
                            } else {
                              files.push_back({*id, late_sink{*file, *file->progress}});
                              w.add(std::move(file));
                            }
                          }
                        }};
    co_await gathering;
    for (auto& one : found) {
      if (one.foreign) report_unknown_id(*one.file);
      else report_present(*one.file, one.error);
    }
    if (files.empty()) co_return;
    const result_taker<typename Client::download_result> on_result{*this, w};
    auto fetching = make_call<>(
        [&](auto handler) { client.async_download_all(files, on_result, std::move(handler)); });
    co_await fetching;
    const std::error_code ec = fetching.error();
    work_call closing{this->core().work_executor, [&](std::error_code&) {
                        for (item& one : files) {
                          if (ec) one.sink.keep();
                          else one.sink.close();
                        }
                      }};
    co_await closing;
    if (ec) lost = failure_of(*w.connected, ec);
  }
};

}  // namespace filexfer::detail

#endif
