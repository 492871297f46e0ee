#ifndef FILEXFER_DETAIL_POOL_JOB_HPP
#define FILEXFER_DETAIL_POOL_JOB_HPP

// A job of a pool: its workers, each of which has a connection and takes files from one queue, and
// when they connect, retry, wait and end. The derived classes transfer files over a connection:
// upload_job.hpp, download_job.hpp.
//
// All of it runs on the pool's strand, except for `work_call`s.

#include <filexfer/detail/pool/core.hpp>
#include <filexfer/detail/pool/descriptors.hpp>
#include <filexfer/detail/pool/job_results.hpp>
#include <filexfer/detail/pool/routine.hpp>
#include <filexfer/detail/pool/worker.hpp>
#include <filexfer/error.hpp>
#include <filexfer/results.hpp>
#include <filexfer/transfer.hpp>
#include <filexfer/transfer_types.hpp>

#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

template <class Core, class Record>
class transfer_job : public job_results<Core, Record>,
                     public std::enable_shared_from_this<transfer_job<Core, Record>> {
  using base = job_results<Core, Record>;
  using base::cancelled_;
  using base::core_;
  using base::delayed_;
  using base::failed_;
  using base::finished_;
  using base::queue_;
  using base::stopping_;

 public:
  using typename base::files_type;
  using typename base::pointer;
  using typename base::worker;
  using clock = typename Core::clock;

  transfer_job(std::shared_ptr<Core> core, std::unique_ptr<files_type> files)
      : base{std::move(core), std::move(files)} {}

  void start() override {
    core_->start_job(this->weak_from_this());
    max_workers_ = std::clamp<std::size_t>(core_->options.connections, 1,
                                           affordable_connections(core_->options));
    add_worker();
  }

  /// Terminal: interrupts files in flight. Otherwise lets them finish, and starts no others.
  void cancel(asio::cancellation_type type) override {
    const bool terminal =
        (type & asio::cancellation_type::terminal) != asio::cancellation_type::none;
    if (type == asio::cancellation_type::none) return;
    stopping_ = true;
    queue_.stop();
    if (terminal) cancelled_ = true;
    for (const auto& w : workers_) {
      const auto running = w->running.lock();
      if (!running) continue;
      if (terminal) running->terminate();
      else if (!w->holds_files) running->cancel_call();
    }
  }

 protected:
  ~transfer_job() = default;

  /// Transfers `first`, and others of the queue that can be batched with it, over the worker's
  /// connection. If that fails, sets `lost` and leaves the files in flight in `w.files`.
  virtual flow<void> transfer(worker& w, pointer first, transfer_failure& lost) = 0;

  /// Reads what is needed of a file before it can be resumed, and returns whether it read any. Done
  /// without a connection, as a server does not keep an idle one for ever.
  virtual flow<bool> read_ahead(Record&) { co_return false; }

  /// Whether `read_ahead` is due though there is a connection.
  virtual bool needs_read_ahead(Record&) { return false; }

  /// Called when the job has ended.
  virtual void complete(std::error_code ec, transfer_totals totals) = 0;

  /// Most files of the worker's next operation. Several workers share the files evenly. One alone
  /// has `windows` times as many as are in flight, as there are none at an operation's beginning
  /// and end.
  std::size_t limit_for(const worker& w, std::size_t windows = 1) const noexcept {
    return max_workers_ > 1 ? w.limit : windows * core_->options.client.max_in_flight;
  }

 private:
  // ----------------------------------------------------------------------------------------- workers

  void add_worker() {
    workers_.push_back(std::make_unique<worker>(*core_));
    worker& w = *workers_.back();
    ++working_;
    w.running = routine::start(
        core_->strand, this->shared_from_this(), [&] { return this->work(w); },
        [this, &w](std::error_code thrown) { this->end(w, thrown); });
  }

  void add_workers() {
    while (!stopping_ && workers_.size() < max_workers_) add_worker();
  }

  void hold(worker& w) noexcept {
    if (!std::exchange(w.holds_files, true)) ++holding_;
  }
  void release(worker& w) noexcept {
    if (std::exchange(w.holds_files, false)) --holding_;
  }

  flow<void> work(worker& w) {
    while (!stopping_) {
      hold(w);
      this->release_delayed();
      pointer first;
      work_call taking{core_->work_executor, [&](std::error_code& ec) {
                         first = queue_.next();
                         ec = queue_.error();
                       }};
      co_await taking;
      if (const std::error_code thrown = taking.error()) {
        if (first) queue_.put_back(std::move(first));
        this->fail({thrown, failure_origin::local});
        co_return;
      }
      if (!first) {
        release(w);
        const bool more = co_await wait_for_work(w);
        if (!more) co_return;
        continue;
      }
      if (const auto error = first->error()) {
        this->report_local(*first, error);
        continue;
      }
      if (!first->is_prepared && first->may_block()) {
        const std::error_code error = co_await prepare(*first);
        if (error) this->report_local(*first, error);
        else queue_.put_back(std::move(first));
        continue;
      }
      if (w.connected && needs_read_ahead(*first)) w.connected.reset();
      if (!w.connected) {
        if (first->alone && !core_->digest.empty()) {
          const bool has_read = co_await read_ahead(*first);
          if (has_read && w.outage) w.outage->progress();  // the time was spent on this side
        }
        const std::string name = first->label();
        const std::size_t index = first->index;
        queue_.put_back(std::move(first));
        release(w);
        wake();
        const bool is_connected = co_await connect(w, name, index);
        if (!is_connected) co_return;
        add_workers();
        continue;
      }
      transfer_failure lost;
      w.answered = false;
      w.bytes_moved = 0;
      co_await transfer(w, std::move(first), lost);
      this->report_local_failures(w);
      if (lost) {
        co_await recover(w, lost);
      } else {
        w.outage.reset();
        w.connected->was_used = true;
        w.limit = std::min(2 * w.limit, core_->options.max_shared_in_flight);
        if (!w.connected->usable()) w.connected.reset();
      }
    }
  }

  flow<std::error_code> prepare(Record& file) {
    work_call preparing{core_->work_executor, [&](std::error_code& ec) { file.prepare(ec); }};
    co_await preparing;
    file.is_prepared = true;
    co_return preparing.error();
  }

  void end(worker& w, std::error_code thrown) {
    if (thrown) this->fail({thrown, failure_origin::local});
    release(w);
    w.has_ended = true;
    const bool keeps = w.connected && w.files.empty() && !cancelled_ && w.connected->usable();
    if (keeps) core_->put_idle(std::move(w.connected));
    w.connected.reset();
    for (; !w.files.empty(); w.files.pop_back()) queue_.put_back(std::move(w.files.back().file));
    wake();
    if (--working_ > 0) return;
    if (!failed_ && !stopping_ && queue_.has_returned()) {  // no worker is left for them
      failed_ = {asio::error::connection_aborted, failure_origin::stream};
    }
    this->report_remaining();
    std::error_code ec = failed_.error;
    if (stopping_ && !ec) ec = asio::error::operation_aborted;
    core_->last_failure = failed_;
    core_->last_failure.error = ec;
    complete(ec, this->totals_);
    core_->end_job();
  }

  // ----------------------------------------------------------------------------------------- waiting

  /// Makes all waiting workers look for a file again.
  void wake() override {
    for (const auto& w : workers_) {
      if (w->has_ended) continue;
      if (finished_ && !w->holds_files) {
        if (const auto running = w->running.lock()) running->cancel_call();
      } else {
        w->timer.cancel();
      }
    }
  }

  /// Waits until there may be a file; false if there will be none.
  flow<bool> wait_for_work(worker& w) {
    if (finished_) co_return false;
    if (queue_.has_returned()) co_return true;  // put back since the worker has looked
    if (delayed_.empty() && holding_ == 0) {
      finished_ = true;
      wake();
      co_return false;
    }
    const auto until =
        delayed_.empty() ? clock::now() + std::chrono::hours{1} : delayed_.begin()->first;
    co_await wait(w, until);
    co_return !finished_;
  }

  flow<void> wait(worker& w, typename clock::time_point until) {
    w.timer.expires_at(until);
    auto waiting = make_call<>([&w](auto handler) { w.timer.async_wait(std::move(handler)); });
    co_await waiting;
  }

  /// Waits for `time`, even if woken, unless the job ends.
  flow<void> pause(worker& w, std::chrono::milliseconds time) {
    const auto until = clock::now() + time;
    while (!finished_ && !stopping_ && clock::now() < until) co_await wait(w, until);
  }

  // -------------------------------------------------------------------------------------- connecting

  bool another_is_connected(const worker& w) const {
    return std::any_of(workers_.begin(), workers_.end(),
                       [&](const auto& other) { return other.get() != &w && other->connected; });
  }

  bool another_worker_remains(const worker& w) const {
    return std::any_of(workers_.begin(), workers_.end(),
                       [&](const auto& other) { return other.get() != &w && !other->has_ended; });
  }

  /// Connects, with retries; false if no connection can be made. `name` and `index` are those of
  /// the file that waits for it.
  flow<bool> connect(worker& w, const std::string& name, std::size_t index) {
    while (!stopping_ && !finished_) {
      transfer_failure failure;
      co_await core_->take_connection(w.connected, failure);
      if (w.connected) co_return true;
      if (stopping_ || finished_) break;
      const bool others = another_is_connected(w);
      if (others && !std::exchange(reported_fewer_, true)) {
        this->notify(pool_event_kind::fewer_connections, failure);
      }
      const auto time =
          core_->may_pass(failure) && !(others && is_out_of_descriptors(failure.error))
              ? next_pause(w, false)
              : std::nullopt;
      if (!time) {
        if (!another_worker_remains(w)) this->fail(std::move(failure));
        co_return false;
      }
      if (!others) this->notify(pool_event_kind::retrying, failure, name, index);
      co_await pause(w, *time);
    }
    co_return false;
  }

  std::optional<std::chrono::milliseconds> next_pause(worker& w, bool progress) {
    if (!w.outage) w.outage.emplace(this->policy());
    if (progress) w.outage->progress();
    return w.outage->next();
  }

  /// Handles the loss of a connection: puts its files back, reports or retries the first.
  flow<void> recover(worker& w, const transfer_failure& lost) {
    const bool was_used = w.connected->was_used;
    w.connected.reset();
    pointer first;
    if (auto entry = w.take_first()) first = std::move(entry->file);
    for (auto entry = w.files.rbegin(); entry != w.files.rend(); ++entry) {
      if (entry->error) this->report_local(*entry->file, entry->error);
      else queue_.put_back(std::move(entry->file));
    }
    w.files.clear();
    // A local failure has been reported with its own file.
    const bool reported = lost.origin == failure_origin::local && w.answered && !cancelled_;
    if (cancelled_) {
      if (first) this->report_failure(*first, lost);
      co_return;
    }
    // The connection may have broken while idle, which does not count as an attempt.
    const bool stale = first && was_used && !w.answered && !first->has_received();
    if (!first || reported || stale) {
      if (first) {
        first->alone = first->alone || first->position() > 0;
        queue_.put_back(std::move(first));
      }
      release(w);
      wake();
      co_return;
    }
    std::optional<std::chrono::milliseconds> time;
    if (!stopping_ && first->may_retry() && is_retryable(lost.error, lost.origin)) {
      time = next_pause(w, w.bytes_moved > 0 || w.answered);
    }
    if (!time) {
      w.outage.reset();
      this->report_failure(*first, lost);
      co_return;
    }
    this->notify(pool_event_kind::retrying, lost, first->label(), first->index);
    first->alone = true;
    queue_.put_back(std::move(first));
    release(w);
    wake();
    co_await pause(w, *time);
  }

  std::vector<std::unique_ptr<worker>> workers_;
  std::size_t max_workers_ = 1;
  std::size_t working_ = 0;  ///< Workers that have not ended.
  std::size_t holding_ = 0;  ///< Workers with `holds_files`.
  bool reported_fewer_ = false;
};

}  // namespace filexfer::detail

#endif
