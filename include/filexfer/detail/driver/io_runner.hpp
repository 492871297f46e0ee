#ifndef FILEXFER_DETAIL_DRIVER_IO_RUNNER_HPP
#define FILEXFER_DETAIL_DRIVER_IO_RUNNER_HPP

// The I/O of the asynchronous driver: one action at a time on a stream, under the action's
// deadline.
//
// A read and a write that a `read_write` has left may be pending beside later actions, and one wait
// of the timer, which is not restarted for each action: when it fires early, it waits again.
//
// If memory for starting I/O is lacking, that I/O fails.

#include <filexfer/detail/driver/operation_base.hpp>
#include <filexfer/detail/driver/run.hpp>
#include <filexfer/detail/driver/running_deadline.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/error.hpp>
#include <filexfer/options.hpp>
#include <filexfer/stream.hpp>

#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <optional>
#include <span>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// Whether two buffers are the same memory: for assertions.
inline bool same_buffer(std::span<const std::byte> a, std::span<const std::byte> b) noexcept {
  return a.data() == b.data() && a.size() == b.size();
}

template <class Stream, class Timer, class Executor, class Allocator>
class io_runner : public operation_base<Stream, Executor, Allocator> {
  using base = operation_base<Stream, Executor, Allocator>;
  using typename base::io_handler;

 protected:
  using base::call_of;
  using base::stream_;
  using typename base::plain_handler;

  /// Handlers run on `executor`, and use `allocator`.
  io_runner(Stream& stream, const time_limits& limits, Executor executor,
            const Allocator& allocator)
      : base{stream, std::move(executor), allocator},
        deadline_{limits},
        timer_{stream.get_executor()} {}

  ~io_runner() = default;

  /// One part of the action has ended; the last one resumes the flow.
  virtual void end_part() = 0;

  bool finished() const noexcept override {
    return flow_ended_ && !read_under_way_ && !write_under_way_ && !timer_under_way_;
  }

  /// Starts the I/O of the action, as one part of it if it does not end at once.
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

  void abort_io() {
    const bool writes = reading_and_writing_ && write_under_way_;  // its read may stay pending
    const bool reads = reading_and_writing_ || read_joined_;
    (writes  ? write_signal_
     : reads ? read_signal_
             : io_signal_)
        .emit(asio::cancellation_type::terminal);
  }

  /// Cancels what would otherwise delay completion, after the flow has ended.
  void cancel_pending() {
    assert(!write_under_way_);  // no flow ends while its write is pending
    if (read_under_way_) read_signal_.emit(asio::cancellation_type::terminal);
    if (timer_under_way_) timer_.cancel();
  }

  action* action_ = nullptr;
  flow_context context_;
  int parts_ = 0;  ///< Of the action, that have not ended.
  bool io_under_way_ = false;
  bool cancelled_ = false;
  bool stopping_ = false;
  bool flow_ended_ = false;

 private:
  /// The timer ends the pause.
  void start_pause() {
    ++parts_;
    io_under_way_ = true;
    if (const auto failed = start_safely([this] { set_deadline(); })) end_io(failed);
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
    assert(!writes ||
           same_buffer(buffers[0], writing_[0]));  // a pending write is joined, not replaced
    assert(!read_under_way_ || action_->read_buffer.empty() ||
           same_buffer(action_->read_buffer, reading_));
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
          io_handler{this->shared_from_this(), write_signal_, call_of(&io_runner::on_write)});
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
    reading_ = action_->read_buffer;
    const auto failed = start_safely([this] {
      stream_.async_read_some(
          asio::buffer(reading_.data(), reading_.size()),
          io_handler{this->shared_from_this(), read_signal_, call_of(&io_runner::on_read)});
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
    assert(same_buffer(action_->read_buffer, reading_));
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

  // ---------------------------------------------------------------------------------------- deadlines

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
    timer_.async_wait(plain_handler{this->shared_from_this(), call_of(&io_runner::on_timer)});
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

  asio::cancellation_signal io_signal_;
  asio::cancellation_signal read_signal_;   ///< Of the read of a `read_write`.
  asio::cancellation_signal write_signal_;  ///< Of the write of a `read_write`.
  running_deadline<typename Timer::clock_type> deadline_;
  Timer timer_;

  std::optional<read_result> read_ended_;
  std::optional<std::error_code> write_ended_;
  std::span<std::byte> reading_;                       ///< By the read of a `read_write`.
  std::array<std::span<const std::byte>, 2> writing_;  ///< By the write of a `read_write`.
  std::uint64_t written_ = 0;
  std::error_code abort_reason_;  ///< Why I/O in progress was cancelled, if not by the user.
  bool read_under_way_ = false;
  bool read_joined_ = false;
  bool write_under_way_ = false;
  bool cancelling_write_ = false;
  bool reading_and_writing_ = false;  ///< The action is a `read_write` that has not ended.
  bool timer_under_way_ = false;
};

}  // namespace filexfer::detail

#endif
