#ifndef FILEXFER_DETAIL_DRIVER_FLOW_RUNNER_HPP
#define FILEXFER_DETAIL_DRIVER_FLOW_RUNNER_HPP

// Runs a flow for the asynchronous driver: its I/O, work on an executor of its own, and
// cancellation, until the flow has ended and nothing is in progress any more.
//
// One class serves all operations on a type of stream: async_run.hpp's class adds the flow's value
// and the handler. So a program contains this code, and Asio's for each read and write in it, once
// and not once for each type of handler.
//
// An action has up to three parts, I/O and two pieces of work that it waits for; the last part to
// end resumes the flow, or the first, if the action says so. Meanwhile other work may run. The
// operation completes when nothing is in progress.
//
// If memory for posting work is lacking, the work runs in place. If memory for reporting that work
// is done is lacking (on the work executor's thread, or between the stream's and the handler's
// executor), an exception is thrown there; as a rule Asio has that memory at hand.

#include <filexfer/detail/driver/io_runner.hpp>
#include <filexfer/detail/driver/work_queue.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/stream.hpp>

#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>

namespace filexfer::detail {

template <class Stream, class Timer, class Executor, class Allocator>
class flow_runner : public io_runner<Stream, Timer, Executor, Allocator> {
  using base = io_runner<Stream, Timer, Executor, Allocator>;
  using base::abort_io;
  using base::action_;
  using base::call_of;
  using base::cancelled_;
  using base::context_;
  using base::executors_;
  using base::flow_ended_;
  using base::io_under_way_;
  using base::parts_;
  using base::start_safely;
  using base::stopping_;
  using base::stream_;
  using base::stream_guard_;
  using typename base::plain_handler;
  using typename base::worker_handler;

 public:
  void cancel(asio::cancellation_type type) override {
    const std::lock_guard lock{this->mutex_};
    if ((type & asio::cancellation_type::terminal) != asio::cancellation_type::none) {
      cancelled_ = true;
      for (work_queue& queue : queues_) queue.cancel();
      if (io_under_way_) abort_io();
    } else if (type != asio::cancellation_type::none) {
      stopping_ = true;
      const bool ends_io = io_under_way_ && action_->io != io_kind::read_write;
      if (ends_io && action_->interruptible) abort_io();
    }
  }

 protected:
  using typename base::pointer;

  /// Handlers run on `executor`, and use `allocator`.
  flow_runner(Stream& stream, const driver_settings& settings, Executor executor,
              const Allocator& allocator)
      : base{stream, settings, std::move(executor), allocator} {}

  /// Starts the flow of `context()` on the handlers' executor, never inside this function.
  void post_first_step() {
    asio::post(stream_guard_.get_executor(),
               plain_handler{this->shared_from_this(), call_of(&flow_runner::step)});
  }

  flow_context& context() noexcept { return context_; }
  bool cancelled() const noexcept { return cancelled_; }

 private:
  // --------------------------------------------------------------------------------------- the loop

  /// Resumes the flow and starts its actions, until one is in progress or the flow has ended.
  void step() {
    for (;;) {
      action_ = advance(context_);
      if (action_ == nullptr) {
        flow_ended_ = true;
        this->cancel_pending();
        return;
      }
      if (!start_parts()) return;
    }
  }

  /// Starts the parts of the action; true if they have all ended at once.
  bool start_parts() {
    parts_ = 1;  // held by this function
    if (!cancelled_ || action_->io == io_kind::read_write || action_->io == io_kind::cancel_write) {
      this->start_io();
    } else {
      if (action_->io == io_kind::close) close_stream(stream_);
      context_.result.error = asio::error::operation_aborted;
    }
    for (std::size_t queue = 0; queue < queues_.size(); ++queue) {
      if (work_base* const piece = action_->starts[queue]) start_work(queue, *piece);
    }
    if (action_->or_work) {
      wait_for_either();
    } else {
      for (std::size_t queue = 0; queue < queues_.size(); ++queue) {
        work_base* const piece = action_->waits_for[queue];
        if (piece != nullptr && !queues_[queue].done_or_notify(*piece)) ++parts_;
      }
    }
    return --parts_ == 0;
  }

  /// Waits for the I/O, which was started, or the work.
  void wait_for_either() {
    const outcome& result = context_.result;
    if (result.error || result.read || result.written) return;
    if (queues_[blocking].done_or_notify(*action_->waits_for[blocking])) {
      end_with_work();
    } else {
      ++parts_;
      awaits_either_ = true;
    }
  }

  void end_with_work() {
    context_.result.work_ended = true;
    if (this->leave_read_write()) --parts_;
  }

  void end_part() override {
    if (std::exchange(awaits_either_, false)) {  // the I/O was first
      --parts_;
      if (!queues_[blocking].forget(*action_->waits_for[blocking])) ++ignored_ends_;
    }
    if (--parts_ == 0) step();
  }

  void end_work() {
    if (ignored_ends_ > 0) {
      --ignored_ends_;
      return;
    }
    if (std::exchange(awaits_either_, false)) end_with_work();
    end_part();
  }

  void start_work(std::size_t queue, work_base& piece) {
    if (!queues_[queue].push(piece)) return;
    if (executors_[queue] && !cancelled_ && !start_safely([&] { post_work(self(), queue); })) {
      ++busy_queues_;
    } else {
      while (queues_[queue].run_next().more) continue;
    }
  }

  std::shared_ptr<flow_runner> self() {
    return std::static_pointer_cast<flow_runner>(this->shared_from_this());
  }

  static void post_work(std::shared_ptr<flow_runner> self, std::size_t queue) {
    const auto pool = self->executors_[queue];
    asio::post(pool,
               [owner = std::move(self), queue]() mutable { run_next(std::move(owner), queue); });
  }

  /// Runs on the queue's executor, one piece at a time, so that no queue delays others for long.
  /// The operation does not complete while a queue is running; the reference is passed on, not
  /// kept.
  static void run_next(std::shared_ptr<flow_runner> self, std::size_t queue) {
    const auto progress = self->queues_[queue].run_next();
    if (progress.more) {
      if (progress.awaited) post_call(self, &flow_runner::end_work);
      post_work(std::move(self), queue);
    } else {
      post_call(std::move(self),
                progress.awaited ? &flow_runner::end_queue_and_work : &flow_runner::end_queue);
    }
  }

  static void post_call(std::shared_ptr<flow_runner> self, void (flow_runner::*call)()) {
    const auto stream_executor = self->stream_guard_.get_executor();
    asio::post(stream_executor, worker_handler{std::move(self), call_of(call)});
  }

  void end_queue() { --busy_queues_; }

  void end_queue_and_work() {
    end_queue();
    end_work();
  }

  bool finished() const noexcept override {
    return base::finished() && busy_queues_ == 0 && ignored_ends_ == 0;
  }

  std::array<work_queue, queue_count> queues_;
  int busy_queues_ = 0;
  bool awaits_either_ = false;  ///< The action's I/O and work are in progress; see `or_work`.
  int ignored_ends_ = 0;        ///< Reports of ended work to come that no action waits for.
};

}  // namespace filexfer::detail

#endif
