#ifndef FILEXFER_DETAIL_POOL_JOB_RESULTS_HPP
#define FILEXFER_DETAIL_POOL_JOB_RESULTS_HPP

// The files of a job and their results: which are reported, which are retried, and when the job has
// failed. job.hpp has the workers that transfer them.
//
// All of it runs on the pool's strand.

#include <filexfer/detail/pool/core.hpp>
#include <filexfer/detail/pool/element_queue.hpp>
#include <filexfer/detail/pool/worker.hpp>
#include <filexfer/error.hpp>
#include <filexfer/results.hpp>
#include <filexfer/transfer.hpp>
#include <filexfer/transfer_types.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

namespace filexfer::detail {

template <class Core, class Record>
class job_results : public job_base {
  using clock = typename Core::clock;

  /// Most files that wait for a retry at a time.
  static constexpr std::size_t max_delayed = 1024;

 public:
  using record = Record;
  using files_type = job_files<record>;
  using pointer = typename element_queue<record>::pointer;
  using worker = pool_worker<Core, record>;
  using result_type = transfer_totals;

 protected:
  job_results(std::shared_ptr<Core> core, std::unique_ptr<files_type> files)
      : core_{std::move(core)}, files_{std::move(files)} {}
  ~job_results() = default;

  /// Makes all waiting workers look for a file again.
  virtual void wake() = 0;

  Core& core() noexcept { return *core_; }
  element_queue<record>& queue() noexcept { return queue_; }

  /// Set by a terminal cancellation; read by the work executor.
  const std::atomic<bool>& cancelled() const noexcept { return cancelled_; }

  /// Takes the first file in flight that was sent: its result has arrived. Reports the files before
  /// it, which failed locally.
  pointer take_answered(worker& w) {
    w.answered = true;
    while (auto entry = w.take_first()) {
      if (!entry->error) return std::move(entry->file);
      report_local(*entry->file, entry->error);
    }
    return nullptr;
  }

  /// Reports the files at the front that failed locally.
  void report_local_failures(worker& w) {
    while (auto entry = w.take_first()) {
      if (!entry->error) {
        w.put_first(std::move(*entry));
        return;
      }
      report_local(*entry->file, entry->error);
    }
  }

  void report_failure(record& file, transfer_failure failure) {
    report(file, {file.index, std::move(failure)});
  }
  void report_local(record& file, std::error_code ec) {
    report_failure(file, {ec, failure_origin::local});
  }

  void report(record& file, transfer_outcome outcome) {
    if (outcome.failure) ++totals_.failed;
    else ++(outcome.transferred ? totals_.transferred : totals_.already_present);
    file.finish(outcome);
    try {
      files_->report(file, std::move(outcome));
    } catch (...) {
      fail({error_of(std::current_exception()), failure_origin::local});
    }
  }

  /// A file has failed, but not the connection: retries the file after a pause, or reports it.
  void retry_or_report(pointer file, transfer_outcome outcome, std::uint64_t bytes_moved) {
    const auto& failure = outcome.failure;
    if (!stopping_ && file->may_retry() && is_retryable(failure.error, failure.origin)) {
      if (!file->schedule) file->schedule.emplace(policy());
      if (bytes_moved > 0) file->schedule->progress();
      const auto pause = file->schedule->next();
      if (pause && delayed_.size() < max_delayed) {
        notify(pool_event_kind::retrying, failure, file->label(), file->index);
        file->alone = true;
        delayed_.emplace(clock::now() + *pause, std::move(file));
        wake();
        return;
      }
    }
    report(*file, std::move(outcome));
  }

  /// Retries a file without a pause.
  void retry_now(pointer file) {
    file->alone = true;
    queue_.put_back(std::move(file));
    wake();
  }

  void release_delayed() {
    const auto now = clock::now();
    while (!delayed_.empty() && delayed_.begin()->first <= now) {
      queue_.put_back(std::move(delayed_.begin()->second));
      delayed_.erase(delayed_.begin());
    }
  }

  /// Fails the job.
  void fail(transfer_failure failure) {
    if (!failed_) failed_ = std::move(failure);
    queue_.stop();
    finished_ = true;
    wake();
  }

  /// If the job has failed, so have all files that were taken from the range.
  void report_remaining() {
    if (!failed_) return;
    for (auto& [due, file] : delayed_) queue_.put_back(std::move(file));
    delayed_.clear();
    while (auto file = queue_.take_returned()) report_failure(*file, failed_);
  }

  retry_policy policy() const { return {.retry_for = core_->options.retry_for}; }

  void notify(pool_event_kind kind, const transfer_failure& failure, std::string name = {},
              std::size_t index = 0) {
    if (core_->on_event) core_->on_event({kind, failure, std::move(name), index});
  }

  std::shared_ptr<Core> core_;
  std::unique_ptr<files_type> files_;
  element_queue<record> queue_{*files_};
  std::multimap<typename clock::time_point, pointer> delayed_;  ///< By the time of their retry.
  transfer_totals totals_;
  transfer_failure failed_;
  std::atomic<bool> cancelled_{false};  ///< Terminally.
  bool stopping_ = false;               ///< Cancelled: no further file is started.
  bool finished_ = false;               ///< No file is left, or the job has failed.
};

}  // namespace filexfer::detail

#endif
