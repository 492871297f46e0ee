#ifndef FILEXFER_DETAIL_POOL_DOWNLOAD_JOB_HPP
#define FILEXFER_DETAIL_POOL_DOWNLOAD_JOB_HPP

// A job that downloads. Small files are pipelined; a large one, or one that was interrupted, is
// downloaded by itself and resumes the part that its sink has kept.

#include <filexfer/detail/pool/counted.hpp>
#include <filexfer/detail/pool/digests.hpp>
#include <filexfer/detail/pool/element_queue.hpp>
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

/// A sink that is opened when its file is announced, unless `open` was called before.
class late_sink {
 public:
  /// Both must outlive it.
  late_sink(any_download& element, file_progress& progress) noexcept
      : element_{element}, progress_{progress} {}

  /// Opens the sink, to resume what it holds.
  void open(std::error_code& ec) {
    opened_ = element_.open(ec);
    if (ec) opened_.reset();
  }

  template <class Digest>
  void announce(const file_info<Digest>& file, std::error_code& ec) {
    ec.clear();
    if (!opened_) {  // the whole file was requested
      open(ec);
      if (!ec && held() > 0) discard_held(ec);
    }
    if (!ec) opened_->announce({file.id, file.name, file.size, file.modified, file.executable}, ec);
    if (ec) return;
    was_announced_ = true;
    progress_.start(file.size);
    progress_.seek(held());
  }

  bool was_announced() const noexcept { return was_announced_; }

  void write(std::span<const std::byte> bytes, std::error_code& ec) {
    opened_->write(bytes, ec);
    progress_.add(bytes.size());
  }

  void commit(std::error_code& ec) { opened_->commit(ec); }
  publication* begin_commit(std::error_code& ec) { return opened_->begin_commit(ec); }

  std::uint64_t held() const { return opened_ ? opened_->held() : 0; }

  std::size_t read_held(std::span<std::byte> to, std::uint64_t offset, std::error_code& ec) {
    return opened_->read_held(to, offset, ec);
  }

  void discard_held(std::error_code& ec) {
    ec.clear();
    hash_.reset();
    if (opened_) opened_->discard_held(ec);
  }

  /// Restores the state of the hash over the held bytes that an earlier attempt has saved. Returns
  /// the number of bytes that it covers; 0 if there is none.
  template <class Hasher>
  std::uint64_t restore_hash(Hasher& hash) {
    const auto* const saved = std::any_cast<Hasher>(&hash_);
    if (saved == nullptr) return 0;
    hash = *saved;
    return held();
  }
  /// Saves the state of a hash over all held bytes.
  template <class Hasher>
  void save_hash(const Hasher& hash) {
    hash_ = hash;
  }

  /// An attempt has failed: keeps the received bytes for the next one.
  void keep() {
    if (opened_) opened_->keep();
    close();
  }

  void close() { opened_.reset(); }

 private:
  any_download& element_;
  file_progress& progress_;
  std::unique_ptr<any_sink> opened_;
  std::any hash_;  ///< A hasher, see `save_hash`.
  bool was_announced_ = false;
};

/// A download job's state of a file.
template <class Clock>
struct download_record : file_record<any_download, Clock> {
  bool part_was_wrong = false;
  bool was_compared = false;  ///< With the file at the target, if any: it differs.
  /// The sink of an attempt to which the server did not reply. The connection may have timed out
  /// while the existing file, or the part, was read; so these are not read again.
  std::optional<late_sink> kept_open{};

  ~download_record() { finish(); }

  bool has_received() const noexcept { return this->position() > 0; }

  void finish(transfer_outcome&) { finish(); }

 private:
  void finish() noexcept {
    try {
      if (kept_open) kept_open->keep();
    } catch (...) {  // the next attempt starts without this part
    }
    kept_open.reset();
    this->progress.reset();
  }
};

/// A file of a batch.
template <class Digest>
struct batched_download {
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
      return is_batched(*first) ? this->download_batch(w, client, std::move(first), lost)
                                : this->download_alone(w, client, std::move(first), lost);
    });
  }

 private:
  template <class Result>
  friend class result_taker;

  /// A file that is not requested: it is present, or has failed.
  struct local_result {
    pointer file;
    std::error_code error;
    bool unknown_id = false;
  };

  bool is_batched(record& file) {
    const auto size = file.size();
    return !file.alone && size && *size <= this->core().options.max_batched_size;
  }

  /// Whether the server would refuse again.
  static bool is_final_refusal(std::error_code ec) {
    return ec == condition::refused && ec != condition::may_pass;
  }

  /// Whether the file is already at its target. Runs on the work executor.
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
    if (same) file.accept_existing(ec);
    return same;
  } catch (...) {
    ec = error_of(std::current_exception());
    return false;
  }

  void report_present(record& file, std::error_code ec) {
    if (ec) return this->report_local(file, ec);
    transfer_outcome outcome{file.index};
    outcome.local_digest = outcome.remote_digest = file.id();
    outcome.size = file.size().value_or(0);
    outcome.name = file.name();
    this->report(file, std::move(outcome));
  }

  void report_unknown_id(record& file) {
    this->report_failure(file, {errc::digest_changed, failure_origin::peer});
  }

  // ----------------------------------------------------------------------------- a single file

  template <class Client>
  flow<void> download_alone(worker& w, Client& client, pointer file, transfer_failure& lost) {
    using digest_type = typename Client::digest_type;
    using hasher = typename Client::hasher_type;
    const auto id = file->id().template as<digest_type>();
    if (!id) {
      report_unknown_id(*file);
      co_return;
    }
    bool present = false;
    std::optional<late_sink>& opened = file->kept_open;
    work_call opening{this->core().work_executor, [&](std::error_code& ec) {
                        if (opened) return;
                        present = !file->was_compared && is_present<hasher>(*file, ec);
                        if (present || ec) return;
                        file->was_compared = true;
                        opened.emplace(*file, *file->progress);
                        opened->open(ec);
                        if (ec == errc::file_exists) {  // created since it was looked for
                          std::error_code settle_error;
                          present = is_present<hasher>(*file, settle_error);
                          if (present) ec = settle_error;
                        }
                        if (present || ec) opened.reset();
                      }};
    co_await opening;
    if (present || opening.error()) {
      if (present) report_present(*file, opening.error());
      else this->report_local(*file, opening.error());
      co_return;
    }
    const bool had_part = opened->held() > 0;
    late_sink& sink = *opened;
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
    bool present_now = false;
    work_call closing{this->core().work_executor, [&](std::error_code& settle_error) {
                        if (is_lost && keeps && !opened->was_announced()) return;
                        if (keeps) opened->keep();
                        opened.reset();
                        if (ec == errc::file_exists && origin == failure_origin::local) {
                          present_now = is_present<hasher>(*file, settle_error);
                        }
                      }};
    co_await closing;
    file->progress->stop();
    if (present_now) {
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
    transfer_outcome outcome{file->index, failure_of(*w.connected, ec)};
    outcome.transferred = true;
    outcome.local_digest = result.local_digest;
    outcome.remote_digest = file->id();
    outcome.size = result.file.size;
    outcome.name = result.file.name;
    if (!ec || ec == errc::digest_mismatch) return this->report(*file, std::move(outcome));
    if (ec == errc::file_exists && !file->alone) return this->retry_now(std::move(file));
    this->retry_or_report(std::move(file), std::move(outcome), result.bytes);
  }

  // ----------------------------------------------------------------------------------- batches

  template <class Client>
  flow<void> download_batch(worker& w, Client& client, pointer first, transfer_failure& lost) {
    using digest_type = typename Client::digest_type;
    using hasher = typename Client::hasher_type;
    using item = batched_download<digest_type>;
    std::deque<item> files;
    std::vector<local_result> local_results;
    std::size_t room = this->limit_for(w);
    work_call gathering{this->core().work_executor, [&](std::error_code&) {
                          while (room > 0) {
                            pointer file = first ? std::move(first) : this->queue().next();
                            if (!file) return;
                            if (const auto error = file->error()) {
                              local_results.push_back({std::move(file), error});
                              continue;
                            }
                            if (file->may_block() || !is_batched(*file)) {
                              this->queue().put_back(std::move(file));
                              return;
                            }
                            --room;
                            const auto id = file->id().template as<digest_type>();
                            std::error_code ec;
                            if (!id) {
                              local_results.push_back({std::move(file), {}, true});
                            } else if (is_present<hasher>(*file, ec) || ec) {
                              local_results.push_back({std::move(file), ec});
                            } else {
                              files.push_back({*id, late_sink{*file, *file->progress}});
                              w.add(std::move(file));
                            }
                          }
                        }};
    co_await gathering;
    for (auto& entry : local_results) {
      if (entry.unknown_id) report_unknown_id(*entry.file);
      else report_present(*entry.file, entry.error);
    }
    if (files.empty()) co_return;
    const result_taker<typename Client::download_result> on_result{*this, w};
    auto fetching = make_call<>(
        [&](auto handler) { client.async_download_all(files, on_result, std::move(handler)); });
    co_await fetching;
    const std::error_code ec = fetching.error();
    work_call closing{this->core().work_executor, [&](std::error_code&) {
                        for (item& entry : files) {
                          if (ec) entry.sink.keep();
                          else entry.sink.close();
                        }
                      }};
    co_await closing;
    if (ec) lost = failure_of(*w.connected, ec);
  }
};

}  // namespace filexfer::detail

#endif
