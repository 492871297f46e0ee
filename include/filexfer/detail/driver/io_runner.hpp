#ifndef FILEXFER_DETAIL_DRIVER_IO_RUNNER_HPP
#define FILEXFER_DETAIL_DRIVER_IO_RUNNER_HPP

// The I/O of the asynchronous driver: one action at a time on a stream, under the action's
// deadline. If memory for starting I/O is lacking, that I/O fails.

#include <filexfer/detail/driver/operation_base.hpp>
#include <filexfer/detail/driver/read_write_runner.hpp>
#include <filexfer/detail/driver/run.hpp>
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
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// Settings of the asynchronous driver.
struct driver_settings {
  time_limits limits;
  asio::any_io_executor work_executor;  ///< Runs work; if empty, work runs in place.
  /// Runs work that may block; if empty, `work_executor` does.
  asio::any_io_executor blocking_executor{};

  const asio::any_io_executor& executor_of(std::size_t queue) const noexcept {
    return queue == blocking && blocking_executor ? blocking_executor : work_executor;
  }
};

template <class Stream, class Timer, class Executor, class Allocator>
class io_runner : public read_write_runner<Stream, Timer, Executor, Allocator> {
  using base = read_write_runner<Stream, Timer, Executor, Allocator>;
  using operation_type = operation_base<Stream, Executor, Allocator>;
  using base::abort_reason_;
  using base::deadline_;
  using base::end_part;
  using base::set_deadline;
  using typename base::io_handler;

 protected:
  using base::action_;
  using base::call_of;
  using base::cancelled_;
  using base::context_;
  using base::io_under_way_;
  using base::parts_;
  using base::start_safely;
  using base::stopping_;
  using base::stream_;
  using base::stream_guard_;
  using typename base::plain_handler;
  using typename base::worker_handler;

  /// Handlers run on `executor`, and use `allocator`.
  io_runner(Stream& stream, const driver_settings& settings, Executor executor,
            const Allocator& allocator)
      : base{stream, settings.limits, std::move(executor), allocator},
        executors_{settings.executor_of(computing), settings.executor_of(blocking)} {}

  ~io_runner() = default;

  /// Starts the I/O of the action, as one part of it if it does not end at once.
  void start_io() {
    abort_reason_.clear();
    switch (action_->io) {
      case io_kind::none: return;
      case io_kind::shutdown_send: shutdown_send(stream_); return;
      case io_kind::close: close_stream(stream_); return;
      case io_kind::pause: start_pause(); return;
      case io_kind::call: start_call(); return;
      case io_kind::read_write: this->start_read_write(); return;
      case io_kind::cancel_write: this->cancel_write(); return;
      case io_kind::read_some:
      case io_kind::read_full:
        if (this->join_read()) {
          if (io_under_way_ && stopping_ && action_->interruptible) abort_io();
          return;
        }
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

  void abort_io() override {
    if (action_->io == io_kind::call) {
      post_answer(this->shared_from_this(), asio::error::operation_aborted, calls_);
      return;
    }
    if (!this->abort_read_write()) io_signal_.emit(asio::cancellation_type::terminal);
  }

  const std::array<asio::any_io_executor, queue_count> executors_;  ///< Empty: work runs in place.
 private:
  /// The timer ends the pause.
  void start_pause() {
    ++parts_;
    io_under_way_ = true;
    if (const auto failed = start_safely([this] { set_deadline(); })) end_io(failed);
  }

  /// The answer to an external call, delivered by the first of: a call of it, its destruction. The
  /// operation must not be kept by it, nor its memory: that is freed before the operation
  /// completes.
  class external_answer {
   public:
    external_answer(std::weak_ptr<operation_type> asking, std::size_t number)
        : operation_{std::move(asking)}, number_{number} {}
    external_answer(const external_answer&) = delete;
    external_answer& operator=(const external_answer&) = delete;
    ~external_answer() { deliver(make_error_code(std::errc::operation_canceled)); }

    void deliver(std::error_code ec) {
      std::shared_ptr<operation_type> asking;
      {
        const std::lock_guard lock{mutex_};
        asking = operation_.lock();
        operation_.reset();
      }
      if (asking) post_answer(std::move(asking), ec, number_);
    }

    /// Ignores answers from now on.
    void ignore() {
      const std::lock_guard lock{mutex_};
      operation_.reset();
    }

   private:
    std::mutex mutex_;
    std::weak_ptr<operation_type> operation_;
    std::size_t number_;
  };

  /// The timer keeps the operation alive meanwhile: an answer may come after the context is gone.
  void start_call() {
    ++parts_;
    io_under_way_ = true;
    const auto call = [this] {
      set_deadline();
      const auto answer = std::make_shared<external_answer>(this->weak_from_this(), calls_);
      answer_ = answer;
      (*action_->call)([answer](std::error_code ec) { answer->deliver(ec); });
    };
    if (const auto failed = start_safely(call)) end_call(failed);
  }

  static void post_answer(std::shared_ptr<operation_type> asking, std::error_code ec,
                          std::size_t number) {
    const auto executor = static_cast<io_runner&>(*asking).stream_guard_.get_executor();
    asio::post(executor, typename base::answer_handler{std::move(asking),
                                                       call_of(&io_runner::on_answer), ec, number});
  }

  void on_answer(std::error_code ec, std::size_t number) {
    if (number == calls_) end_call(ec);
  }

  void end_call(std::error_code ec) {
    ++calls_;  // what has been posted is ignored, too
    if (const auto answer = answer_.lock()) answer->ignore();
    end_io(ec);
  }

  void initiate_io() {
    const std::uint64_t done = context_.result.bytes;
    io_handler handler{this->shared_from_this(), io_signal_, call_of(&io_runner::on_io)};
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
    if constexpr (file_sending_stream<Stream>) {
      if (action_->io == io_kind::send_file && !ec) {
        start_send();
        return;
      }
    }
    continue_io(ec, bytes);
  }

  void continue_io(std::error_code ec, std::size_t bytes) {
    outcome& out = context_.result;
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

  void end_io(std::error_code ec) override {
    io_under_way_ = false;
    if (ec == asio::error::operation_aborted && !cancelled_) {
      if (abort_reason_) ec = abort_reason_;
      else if (stopping_ && action_->interruptible) ec = errc::shutting_down;
    }
    context_.result.error = translated(ec);
    end_part();
  }

  /// Sends a part of the file where work may block, since the disk may be slow. It can't be
  /// cancelled.
  void start_send()
    requires file_sending_stream<Stream>
  {
    const auto post_send = [this] {
      asio::post(executors_[blocking], [sending = this->shared_from_this()]() mutable {
        auto& self = static_cast<io_runner&>(*sending);
        self.send_some();
        const auto stream_executor = self.stream_guard_.get_executor();
        asio::post(stream_executor,
                   worker_handler{std::move(sending), call_of(&io_runner::on_sent)});
      });
    };
    if (executors_[blocking] && !start_safely(post_send)) return;
    send_some();
    on_sent();
  }

  void send_some()
    requires file_sending_stream<Stream>
  {
    const std::uint64_t done = context_.result.bytes;
    const file_segment& all = action_->file;
    const file_segment left{all.descriptor, all.offset + done, all.bytes - done};
    sent_bytes_ = send_file_some(stream_.native_handle(), left, send_error_);
    if (send_error_ == std::errc::operation_would_block) send_error_.clear();
  }

  void on_sent() { continue_io(send_error_, sent_bytes_); }

  asio::cancellation_signal io_signal_;
  std::size_t calls_ = 0;                  ///< External calls that have ended.
  std::weak_ptr<external_answer> answer_;  ///< To the one that is under way.
  std::size_t sent_bytes_ = 0;             ///< By the last `send_some`.
  std::error_code send_error_;
};

}  // namespace filexfer::detail

#endif
