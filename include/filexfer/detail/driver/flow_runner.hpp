#ifndef FILEXFER_DETAIL_DRIVER_FLOW_RUNNER_HPP
#define FILEXFER_DETAIL_DRIVER_FLOW_RUNNER_HPP

// Runs a flow for the asynchronous driver: I/O with deadlines, work on an executor of its own, and
// cancellation, until the flow has ended and nothing is in progress any more.
//
// One class serves all operations on a type of stream: async_run.hpp's class adds the flow's value
// and the handler. So a program contains this code, and Asio's for each read and write in it, once
// and not once for each type of handler.
//
// All state of an operation lives in one allocation, shared by all handlers in progress. An action
// has up to three parts, I/O and two pieces of work that it waits for; the last part to end resumes
// the flow. Meanwhile other work may run, a read and a write that a `read_write` has left may be
// pending, and one wait of the timer, which is not restarted for each action: when it fires early,
// it waits again. The operation completes when nothing is in progress any more.
//
// If memory for starting I/O is lacking, that I/O fails; if memory for posting work is lacking, the
// work runs in place. If memory for reporting that work is done is lacking (on the work executor's
// thread, or between the stream's and the handler's executor), an exception is thrown there; as a
// rule Asio has that memory at hand.
//
// A mutex serializes the handlers. A strand can't be relied on: the executor of `asio::use_future`,
// for one, runs a handler on whichever thread has it.

#include <filexfer/detail/driver/run.hpp>
#include <filexfer/detail/driver/running_deadline.hpp>
#include <filexfer/detail/driver/work_guard.hpp>
#include <filexfer/detail/driver/work_queue.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/error.hpp>
#include <filexfer/options.hpp>
#include <filexfer/stream.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// Settings of the asynchronous driver.
struct driver_settings {
  time_limits limits;
  asio::any_io_executor work_executor;  ///< Runs work; if empty, work runs in place.
};

template <class Stream, class Timer, class Executor, class Allocator>
class flow_runner
    : public std::enable_shared_from_this<flow_runner<Stream, Timer, Executor, Allocator>> {
  using clock = typename Timer::clock_type;

 public:
  flow_runner(const flow_runner&) = delete;
  flow_runner& operator=(const flow_runner&) = delete;

  void cancel(asio::cancellation_type type) {
    const std::lock_guard lock{mutex_};
    if ((type & asio::cancellation_type::terminal) != asio::cancellation_type::none) {
      cancelled_ = true;
      for (work_queue& queue : queues_) queue.cancel();
      if (io_under_way_) abort_io();
    } else if (type != asio::cancellation_type::none) {
      stopping_ = true;
      if (io_under_way_ && action_->interruptible) abort_io();
    }
  }

 protected:
  using pointer = std::shared_ptr<flow_runner>;

  /// Handlers run on `executor`, and use `allocator`.
  flow_runner(Stream& stream, const driver_settings& settings, Executor executor,
              const Allocator& allocator)
      : stream_{stream},
        executor_{std::move(executor)},
        allocator_{allocator},
        stream_guard_{stream.get_executor()},
        guard_{executor_},
        work_executor_{settings.work_executor},
        deadline_{settings.limits},
        timer_{stream.get_executor()} {}

  virtual ~flow_runner() = default;

  /// Starts the flow of `context()` on the handlers' executor, never inside this function.
  void post_first_step() {
    asio::post(stream_guard_.get_executor(),
               plain_handler{this->shared_from_this(), &flow_runner::step});
  }

  /// Called once, when the flow has ended and nothing is in progress.
  virtual void complete(pointer self) = 0;

  flow_context& context() noexcept { return context_; }
  bool cancelled() const noexcept { return cancelled_; }

  // Handlers of this operation's parts: each keeps it alive, and runs on the user's executor.

  struct part_handler {
    using executor_type = Executor;
    using allocator_type = Allocator;
    part_handler(pointer p) noexcept : self{std::move(p)}, memory{self->allocator_} {}
    executor_type get_executor() const noexcept { return self->executor_; }
    // A copy: Asio 1.22 calls this on a dispatched handler after having moved from it.
    allocator_type get_allocator() const noexcept { return memory; }
    pointer self;
    Allocator memory;
  };

 private:
  struct plain_handler : part_handler {
    using call_type = void (flow_runner::*)();
    plain_handler(pointer p, call_type call_) : part_handler{std::move(p)}, call{call_} {}
    void operator()(std::error_code = {}) { enter(std::move(this->self), call); }
    call_type call;
  };

  /// Posted from another thread, so it does not use the user's allocator.
  struct worker_handler {
    using executor_type = Executor;
    executor_type get_executor() const noexcept { return self->executor_; }
    void operator()() { enter(std::move(self), call); }
    pointer self;
    void (flow_runner::*call)();
  };

  struct io_handler : part_handler {
    using cancellation_slot_type = asio::cancellation_slot;
    using call_type = void (flow_runner::*)(std::error_code, std::size_t);
    io_handler(pointer p, asio::cancellation_signal& signal, call_type call_)
        : part_handler{std::move(p)}, slot{signal.slot()}, call{call_} {}
    cancellation_slot_type get_cancellation_slot() const noexcept { return slot; }
    void operator()(std::error_code ec, std::size_t bytes = 0) {
      enter(std::move(this->self), call, ec, bytes);
    }
    asio::cancellation_slot slot;
    call_type call;
  };

  /// The body of every handler: one step of the operation, and its completion if that was the last.
  template <class Call, class... Args>
  static void enter(pointer self, Call call, Args... args) {
    bool finished = false;
    {
      const std::lock_guard lock{self->mutex_};
      ((*self).*call)(args...);
      finished = self->nothing_under_way();
    }
    if (!finished) return;
    flow_runner& runner = *self;
    runner.complete(std::move(self));
  }

  // --------------------------------------------------------------------------------------- the loop

  /// Resumes the flow and starts its actions, until one is in progress or the flow has ended.
  void step() {
    for (;;) {
      action_ = advance(context_);
      if (action_ == nullptr) {
        flow_ended_ = true;
        cancel_pending();
        return;
      }
      if (!start_parts()) return;
    }
  }

  /// Starts the parts of the action; true if they have all ended at once.
  bool start_parts() {
    parts_ = 1;  // held by this function
    if (!cancelled_ || action_->io == io_kind::read_write || action_->io == io_kind::cancel_write) {
      start_io();
    } else {
      if (action_->io == io_kind::close) close_stream(stream_);
      context_.result.error = asio::error::operation_aborted;
    }
    for (std::size_t queue = 0; queue < queues_.size(); ++queue) {
      if (work_base* const piece = action_->starts[queue]) start_work(queue, *piece);
    }
    for (std::size_t queue = 0; queue < queues_.size(); ++queue) {
      work_base* const piece = action_->waits_for[queue];
      if (piece != nullptr && !queues_[queue].done_or_notify(*piece)) ++parts_;
    }
    return --parts_ == 0;
  }

  void end_part() {
    if (--parts_ == 0) step();
  }

  void start_work(std::size_t queue, work_base& piece) {
    if (!queues_[queue].push(piece)) return;
    if (work_executor_ && !cancelled_ &&
        !start_safely([&] { post_work(this->shared_from_this(), queue); })) {
      ++busy_queues_;
    } else {
      while (queues_[queue].run_next().more) continue;
    }
  }

  static void post_work(pointer self, std::size_t queue) {
    const auto pool = self->work_executor_;
    asio::post(pool,
               [owner = std::move(self), queue]() mutable { run_next(std::move(owner), queue); });
  }

  /// Runs on the work executor, one piece at a time, so that no queue delays others for long. The
  /// operation does not complete while a queue is running; the reference is passed on, not kept.
  static void run_next(pointer self, std::size_t queue) {
    const auto progress = self->queues_[queue].run_next();
    if (progress.more) {
      if (progress.awaited) post_call(self, &flow_runner::end_part);
      post_work(std::move(self), queue);
    } else {
      post_call(std::move(self),
                progress.awaited ? &flow_runner::end_queue_and_part : &flow_runner::end_queue);
    }
  }

  static void post_call(pointer self, void (flow_runner::*call)()) {
    const auto stream_executor = self->stream_guard_.get_executor();
    asio::post(stream_executor, worker_handler{std::move(self), call});
  }

  void end_queue() { --busy_queues_; }

  void end_queue_and_part() {
    end_queue();
    end_part();
  }

  // -------------------------------------------------------------------------------------------- I/O

  void start_io() {
    abort_reason_.clear();
    switch (action_->io) {
      case io_kind::none: return;
      case io_kind::shutdown_send: shutdown_send(stream_); return;
      case io_kind::close: close_stream(stream_); return;
      case io_kind::pause: start_pause(); return;
      case io_kind::read_write: start_read_write(); return;
      case io_kind::cancel_write: cancel_write(); return;
      case io_kind::read_some:
      case io_kind::read_full:
        if (join_read()) return;
        break;
      case io_kind::write:
      case io_kind::send_file: break;
    }
    if (bytes_wanted(*action_) == 0) return;
    if (action_->interruptible && stopping_) {
      context_.result.error = errc::shutting_down;
      return;
    }
    ++parts_;
    io_under_way_ = true;
    if (const auto failed = start_safely([this] {
          set_deadline();
          initiate_io();
        })) {
      end_io(failed);
    }
  }

  /// The timer ends the pause.
  void start_pause() {
    ++parts_;
    io_under_way_ = true;
    if (const auto failed = start_safely([this] { set_deadline(); })) end_io(failed);
  }

  /// Calls `start`, which starts something asynchronous; returns the error if it throws.
  template <class Start>
  static std::error_code start_safely(Start start) noexcept {
    try {
      start();
      return {};
    } catch (...) {
      return error_of(std::current_exception());
    }
  }

  void initiate_io() {
    const std::uint64_t done = context_.result.bytes;
    io_handler handler{this->shared_from_this(), io_signal_, &flow_runner::on_io};
    switch (action_->io) {
      case io_kind::write:
        stream_.async_write_some(buffers_after(action_->write_buffers, done), std::move(handler));
        return;
      case io_kind::send_file:
        if constexpr (file_sending_stream<Stream>) {
          stream_.async_wait(Stream::wait_write, std::move(handler));
        }
        return;
      default: {
        const auto buffer = action_->read_buffer.subspan(static_cast<std::size_t>(done));
        stream_.async_read_some(asio::buffer(buffer.data(), buffer.size()), std::move(handler));
      }
    }
  }

  void on_io(std::error_code ec, std::size_t bytes) {
    outcome& out = context_.result;
    if constexpr (file_sending_stream<Stream>) {
      if (action_->io == io_kind::send_file && !ec) bytes = send_some(ec);
    }
    out.bytes += bytes;
    if (!ec && out.bytes < bytes_wanted(*action_)) {
      if (cancelled_ || abort_reason_) {
        ec = asio::error::operation_aborted;
      } else {
        if (bytes > 0) deadline_.progress(*action_);
        ec = start_safely([this] { initiate_io(); });
        if (!ec) return;
      }
    }
    end_io(ec);
  }

  void end_io(std::error_code ec) {
    io_under_way_ = false;
    if (ec == asio::error::operation_aborted && !cancelled_) {
      if (abort_reason_) ec = abort_reason_;
      else if (stopping_ && action_->interruptible) ec = errc::shutting_down;
    }
    context_.result.error = translated(ec);
    end_part();
  }

  std::size_t send_some(std::error_code& ec)
    requires file_sending_stream<Stream>
  {
    const std::uint64_t done = context_.result.bytes;
    const file_segment& all = action_->file;
    const file_segment left{all.descriptor, all.offset + done, all.bytes - done};
    const std::size_t sent = send_file_some(stream_.native_handle(), left, ec);
    if (ec == std::errc::operation_would_block) ec.clear();
    return sent;
  }

  // A read and a write at the same time, each of which may outlive its action.

  void start_read_write() {
    if (cancelled_) {
      context_.result.error = asio::error::operation_aborted;
      cancel_write();
      return;
    }
    deadline_.begin(*action_, bytes_wanted(*action_));
    const auto& buffers = action_->write_buffers;
    const bool writes = !buffers[0].empty() || !buffers[1].empty();
    if (writes && !write_under_way_ && !write_ended_) {
      writing_ = buffers;
      written_ = 0;
      continue_write();
    }
    if (!action_->read_buffer.empty() && !read_under_way_ && !read_ended_) start_read();
    if (deliver_read_write() || !(write_under_way_ || read_under_way_)) return;
    ++parts_;
    io_under_way_ = true;
    reading_and_writing_ = true;
    if ((abort_reason_ = start_safely([this] { start_timer(); }))) abort_io();
  }

  /// Passes the results of the write and the read, as far as they have ended, to the flow. Returns
  /// whether one has ended.
  bool deliver_read_write() {
    outcome& out = context_.result;
    const bool any_ended = write_ended_ || read_ended_;
    if (write_ended_) {
      out.error = *write_ended_;
      out.written = !out.error;
      write_ended_.reset();
    }
    out.read = std::exchange(read_ended_, std::nullopt);
    return any_ended;
  }

  void end_read_write() {
    const bool ends_early = cancelled_ || abort_reason_;
    if (!reading_and_writing_ || (ends_early && write_under_way_)) return;
    reading_and_writing_ = false;
    io_under_way_ = false;
    deliver_read_write();
    if (cancelled_) context_.result.error = asio::error::operation_aborted;
    else if (abort_reason_) context_.result.error = abort_reason_;
    end_part();
  }

  void continue_write() {
    write_under_way_ = true;
    const auto failed = start_safely([this] {
      stream_.async_write_some(
          buffers_after(writing_, written_),
          io_handler{this->shared_from_this(), write_signal_, &flow_runner::on_write});
    });
    if (failed) end_write(failed);
  }

  void end_write(std::error_code ec) {
    write_under_way_ = false;
    write_ended_ = translated(ec);
  }

  void on_write(std::error_code ec, std::size_t bytes) {
    written_ += bytes;
    const bool incomplete = !ec && written_ < writing_[0].size() + writing_[1].size();
    if (incomplete &&
        (cancelled_ || cancelling_write_ || (reading_and_writing_ && abort_reason_))) {
      end_write(asio::error::operation_aborted);
    } else if (incomplete) {
      if (reading_and_writing_) deadline_.progress(*action_);
      continue_write();
    } else {
      end_write(ec);
    }
    if (write_under_way_) return;
    if (std::exchange(cancelling_write_, false)) {
      write_ended_.reset();
      end_part();
    } else {
      end_read_write();
    }
  }

  void cancel_write() {
    write_ended_.reset();
    if (!write_under_way_) return;
    ++parts_;
    cancelling_write_ = true;
    write_signal_.emit(asio::cancellation_type::terminal);
  }

  void start_read() {
    read_under_way_ = true;
    const auto failed = start_safely([this] {
      const auto buffer = action_->read_buffer;
      stream_.async_read_some(
          asio::buffer(buffer.data(), buffer.size()),
          io_handler{this->shared_from_this(), read_signal_, &flow_runner::on_read});
    });
    if (!failed) return;
    read_under_way_ = false;
    read_ended_ = read_result{failed, 0};
  }

  /// Joins the action's read to one that a `read_write` has left, if there is one: returns whether.
  bool join_read() {
    if (read_ended_) {
      deadline_.begin(*action_, bytes_wanted(*action_));  // the next read may continue it
      context_.result.error = read_ended_->error;
      context_.result.bytes = read_ended_->bytes;
      read_ended_.reset();
      return true;
    }
    if (!read_under_way_) return false;
    ++parts_;
    read_joined_ = true;
    io_under_way_ = true;
    if ((abort_reason_ = start_safely([this] { set_deadline(); }))) abort_io();
    return true;
  }

  void on_read(std::error_code ec, std::size_t bytes) {
    read_under_way_ = false;
    if (read_joined_) {
      read_joined_ = false;
      context_.result.bytes = bytes;
      end_io(ec);
    } else {
      read_ended_ = read_result{translated(ec), bytes};
      if (reading_and_writing_) deadline_.progress(*action_);
      end_read_write();
    }
  }

  // ---------------------------------------------------------------------- deadlines and cancellation

  void set_deadline() {
    deadline_.begin(*action_, bytes_wanted(*action_));
    start_timer();
  }

  void start_timer() {
    if (timer_under_way_) {
      if (timer_.expiry() > deadline_.when()) timer_.cancel();  // on_timer starts it again
      return;
    }
    timer_.expires_at(deadline_.when());
    timer_.async_wait(plain_handler{this->shared_from_this(), &flow_runner::on_timer});
    timer_under_way_ = true;
  }

  void on_timer() {
    timer_under_way_ = false;
    if (flow_ended_ || !io_under_way_ || abort_reason_) return;
    if (action_->revoked != nullptr && *action_->revoked) {
      abort_reason_ = errc::superseded;
    } else if (deadline_.passed()) {
      if (action_->io == io_kind::pause) {
        end_io({});
        return;
      }
      abort_reason_ = errc::timed_out;
    } else {
      deadline_.polled();
      abort_reason_ = start_safely([this] { start_timer(); });
    }
    if (abort_reason_) abort_io();
  }

  void abort_io() {
    const bool writes = reading_and_writing_ && write_under_way_;  // its read may stay pending
    const bool reads = reading_and_writing_ || read_joined_;
    (writes  ? write_signal_
     : reads ? read_signal_
             : io_signal_)
        .emit(asio::cancellation_type::terminal);
  }

  void cancel_pending() {
    if (read_under_way_) read_signal_.emit(asio::cancellation_type::terminal);
    if (timer_under_way_) timer_.cancel();
  }

  bool nothing_under_way() const noexcept {
    return flow_ended_ && !read_under_way_ && !write_under_way_ && !timer_under_way_ &&
           busy_queues_ == 0;
  }

  Stream& stream_;
  Executor executor_;
  Allocator allocator_;
  work_guard<typename Stream::executor_type> stream_guard_;
  work_guard<Executor> guard_;
  asio::any_io_executor work_executor_;
  std::recursive_mutex mutex_;  // a flow may cancel its own operation

  std::array<work_queue, 2> queues_;
  asio::cancellation_signal io_signal_;
  asio::cancellation_signal read_signal_;   ///< Of the read of a `read_write`.
  asio::cancellation_signal write_signal_;  ///< Of the write of a `read_write`.
  running_deadline<clock> deadline_;
  Timer timer_;

  action* action_ = nullptr;
  std::optional<read_result> read_ended_;
  std::optional<std::error_code> write_ended_;
  std::array<std::span<const std::byte>, 2> writing_;  ///< By the write of a `read_write`.
  std::uint64_t written_ = 0;
  std::error_code abort_reason_;  ///< Why I/O in progress was cancelled, if not by the user.
  int parts_ = 0;
  int busy_queues_ = 0;
  bool io_under_way_ = false;
  bool read_under_way_ = false;
  bool read_joined_ = false;
  bool write_under_way_ = false;
  bool cancelling_write_ = false;
  bool reading_and_writing_ = false;  ///< The action is a `read_write` that has not ended.
  bool timer_under_way_ = false;
  bool cancelled_ = false;
  bool stopping_ = false;
  bool flow_ended_ = false;

  flow_context context_;
};

}  // namespace filexfer::detail

#endif
