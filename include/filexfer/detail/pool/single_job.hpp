#ifndef FILEXFER_DETAIL_POOL_SINGLE_JOB_HPP
#define FILEXFER_DETAIL_POOL_SINGLE_JOB_HPP

// A job of one routine, which may make several attempts, each over one connection.

#include <filexfer/detail/pool/core.hpp>
#include <filexfer/detail/pool/routine.hpp>
#include <filexfer/results.hpp>
#include <filexfer/transfer.hpp>
#include <filexfer/transfer_types.hpp>

#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// A job that consists of one routine.
template <class Core, class Result>
class single_job : public job_base, public std::enable_shared_from_this<single_job<Core, Result>> {
 public:
  using result_type = Result;

  explicit single_job(std::shared_ptr<Core> core) : core_{std::move(core)} {}

  void start() override {
    core_->start_job(this->weak_from_this());
    running_ = routine::start(
        core_->strand, this->shared_from_this(), [this] { return this->run(); },
        [this](std::error_code thrown) { this->end(thrown); });
    if (cancelled_) cancel(asio::cancellation_type::terminal);
  }

  /// Terminal, whatever the type.
  void cancel(asio::cancellation_type type) override {
    if (type == asio::cancellation_type::none) return;
    cancelled_ = true;
    if (const auto running = running_.lock()) running->terminate();
  }

 protected:
  using connection = typename Core::connection;

  ~single_job() = default;

  virtual flow<void> run() = 0;
  virtual void complete(std::error_code ec, Result result) = 0;

  Core& core() noexcept { return *core_; }
  const std::atomic<bool>& cancelled() const noexcept { return cancelled_; }

  /// Sets `failure_`, and `has_received_` once something has arrived.
  using attempt_function = std::function<flow<void>(connection&)>;

  /// Makes attempts, each over a connection, until one succeeds or another one can't, for as long
  /// as the pool's options say. One over an idle connection that turns out to have broken does not
  /// count.
  ///
  /// \param name  For events: the file concerned, if any.
  flow<void> perform(const attempt_function& attempt, std::string_view name = {}) {
    std::optional<retry_schedule<typename Core::clock>> outage;
    for (;;) {
      const bool was_idle = co_await perform_once(attempt);
      if (!failure_ || cancelled_ || failure_.origin == failure_origin::local) co_return;
      if (was_idle) continue;
      if (!core_->may_pass(failure_) || !may_repeat()) co_return;
      if (!outage) outage.emplace(retry_policy{.retry_for = core_->options.retry_for});
      if (has_progressed()) outage->progress();
      const auto pause = outage->next();
      if (!pause) co_return;
      if (core_->on_event) {
        core_->on_event({pool_event_kind::retrying, failure_, std::string{name}});
      }
      typename Core::timer_type timer{core_->strand};
      timer.expires_after(*pause);
      auto waiting = make_call<>([&](auto handler) { timer.async_wait(std::move(handler)); });
      co_await waiting;
    }
  }

  /// Whether another attempt is possible after the latest one.
  virtual bool may_repeat() const { return true; }
  /// Whether the time for retries begins anew after the latest attempt.
  virtual bool has_progressed() const { return false; }

  Result result_{};
  transfer_failure failure_{};
  bool has_received_ = false;  ///< Of the latest attempt.

 private:
  /// True if the attempt failed on a connection that may have broken while idle.
  flow<bool> perform_once(const attempt_function& attempt) {
    failure_ = {};
    has_received_ = false;
    std::unique_ptr<connection> connected;
    co_await core_->take_connection(connected, failure_);
    if (!connected) co_return false;
    co_await attempt(*connected);
    const bool is_usable = connected->usable();
    const bool was_idle = connected->was_used && !is_usable && !has_received_;
    if (is_usable) core_->put_idle(std::move(connected));
    co_return was_idle;
  }

  void end(std::error_code thrown) {
    if (thrown) failure_ = {thrown, failure_origin::local};
    if (cancelled_ && !failure_)
      failure_ = {asio::error::operation_aborted, failure_origin::stream};
    core_->last_failure = failure_;
    complete(failure_.error, std::move(result_));
    core_->end_job();
  }

  std::shared_ptr<Core> core_;
  std::weak_ptr<routine> running_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace filexfer::detail

#endif
