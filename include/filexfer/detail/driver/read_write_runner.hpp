#ifndef FILEXFER_DETAIL_DRIVER_READ_WRITE_RUNNER_HPP
#define FILEXFER_DETAIL_DRIVER_READ_WRITE_RUNNER_HPP

// The state of an action's I/O in the asynchronous driver, its deadline, and a read and a write at
// the same time.
//
// A read and a write that a `read_write` has left may be pending beside later actions, and one wait
// of the timer, which is not restarted for each action: when it fires early, it waits again.

#include <filexfer/detail/driver/operation_base.hpp>
#include <filexfer/detail/driver/run.hpp>
#include <filexfer/detail/driver/running_deadline.hpp>
#include <filexfer/detail/flow/flow.hpp>
#include <filexfer/error.hpp>
#include <filexfer/options.hpp>

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
class read_write_runner : public operation_base<Stream, Executor, Allocator> {
  using base = operation_base<Stream, Executor, Allocator>;

 protected:
  using base::call_of;
  using base::stream_;
  using typename base::io_handler;
  using typename base::plain_handler;

  /// Handlers run on `executor`, and use `allocator`.
  read_write_runner(Stream& stream, const time_limits& limits, Executor executor,
                    const Allocator& allocator)
      : base{stream, std::move(executor), allocator},
        deadline_{limits},
        timer_{stream.get_executor()} {}

  ~read_write_runner() = default;

  /// One part of the action has ended; the last one resumes the flow.
  virtual void end_part() = 0;
  /// The action's I/O has ended.
  virtual void end_io(std::error_code ec) = 0;
  /// Cancels the action's I/O, which ends then.
  virtual void abort_io() = 0;

  bool finished() const noexcept override {
    return flow_ended_ && !read_under_way_ && !write_under_way_ && !timer_under_way_;
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

  /// Cancels what would otherwise delay completion, after the flow has ended.
  void cancel_pending() {
    assert(!write_under_way_);  // no flow ends while its write is pending
    if (read_under_way_) read_signal_.emit(asio::cancellation_type::terminal);
    if (timer_under_way_) timer_.cancel();
  }

  /// Cancels the read or the write of a `read_write`, if the action waits for one; returns whether.
  bool abort_read_write() {
    // Its read may stay pending, and a write that is not its own.
    const bool writes = reading_and_writing_ && writes_ && write_under_way_;
    const bool reads = reading_and_writing_ || read_joined_;
    if (!writes && !reads) return false;
    (writes ? write_signal_ : read_signal_).emit(asio::cancellation_type::terminal);
    return true;
  }

  void set_deadline() {
    deadline_.begin(*action_, bytes_wanted(*action_));
    start_timer();
  }

  /// Starts a read and a write at the same time, each of which may outlive the action.
  void start_read_write() {
    if (cancelled_) {
      context_.result.error = asio::error::operation_aborted;
      cancel_write();
      return;
    }
    deadline_.begin(*action_, bytes_wanted(*action_));
    const auto& buffers = action_->write_buffers;
    writes_ = !buffers[0].empty() || !buffers[1].empty();
    if (writes_ && !write_under_way_ && !write_ended_) {
      writing_ = buffers;
      written_ = 0;
      continue_write();
    }
    assert(!writes_ ||
           same_buffer(buffers[0], writing_[0]));  // a pending write is joined, not replaced
    assert(!read_under_way_ || action_->read_buffer.empty() ||
           same_buffer(action_->read_buffer, reading_));
    const bool may_read = !action_->read_buffer.empty() && !(stopping_ && action_->interruptible);
    if (may_read && !read_under_way_ && !read_ended_) start_read();
    if (deliver_read_write() || !((writes_ && write_under_way_) || read_under_way_)) return;
    ++parts_;
    io_under_way_ = true;
    reading_and_writing_ = true;
    if ((abort_reason_ = start_safely([this] { start_timer(); }))) abort_io();
  }

  /// Leaves the I/O of a `read_write` pending; returns whether there is some. If it is being
  /// cancelled, the action goes on waiting for it.
  bool leave_read_write() noexcept {
    if (!reading_and_writing_ || cancelled_ || abort_reason_) return false;
    reading_and_writing_ = false;
    io_under_way_ = false;
    return true;
  }

  /// Cancels the write that a `read_write` has left pending.
  void cancel_write() {
    write_ended_.reset();
    if (!write_under_way_) return;
    ++parts_;
    cancelling_write_ = true;
    write_signal_.emit(asio::cancellation_type::terminal);
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

  action* action_ = nullptr;
  flow_context context_;
  int parts_ = 0;  ///< Of the action, that have not ended.
  bool io_under_way_ = false;
  bool cancelled_ = false;
  bool stopping_ = false;
  bool flow_ended_ = false;
  running_deadline<typename Timer::clock_type> deadline_;
  std::error_code abort_reason_;  ///< Why I/O in progress was cancelled, if not by the user.

 private:
  /// Passes the results of the action's write and its read, as far as they have ended, to the flow.
  /// Returns whether one has ended.
  bool deliver_read_write() {
    outcome& out = context_.result;
    const bool write_has_ended = writes_ && write_ended_;
    const bool any_ended = write_has_ended || read_ended_;
    if (write_has_ended) {
      out.error = *write_ended_;
      out.written = !out.error;
      write_ended_.reset();
    }
    out.read = std::exchange(read_ended_, std::nullopt);
    return any_ended;
  }

  void end_read_write() {
    const bool ends_early = cancelled_ || abort_reason_;
    if (!reading_and_writing_ || (ends_early && writes_ && write_under_way_)) return;
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
      stream_.async_write_some(buffers_after(writing_, written_),
                               io_handler{this->shared_from_this(), write_signal_,
                                          call_of(&read_write_runner::on_write)});
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
    const bool is_awaited = reading_and_writing_ && writes_;
    if (incomplete && (cancelled_ || cancelling_write_ || (is_awaited && abort_reason_))) {
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
    } else if (is_awaited) {
      end_read_write();
    }
  }

  void start_read() {
    read_under_way_ = true;
    reading_ = action_->read_buffer;
    const auto failed = start_safely([this] {
      stream_.async_read_some(
          asio::buffer(reading_.data(), reading_.size()),
          io_handler{this->shared_from_this(), read_signal_, call_of(&read_write_runner::on_read)});
    });
    if (!failed) return;
    read_under_way_ = false;
    read_ended_ = read_result{failed, 0};
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

  void start_timer() {
    if (action_->deadline == deadline::none) return;
    if (timer_under_way_) {
      if (timer_.expiry() > deadline_.when()) timer_.cancel();  // on_timer starts it again
      return;
    }
    timer_.expires_at(deadline_.when());
    timer_.async_wait(
        plain_handler{this->shared_from_this(), call_of(&read_write_runner::on_timer)});
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

  Timer timer_;
  asio::cancellation_signal read_signal_;
  asio::cancellation_signal write_signal_;
  std::optional<read_result> read_ended_;
  std::optional<std::error_code> write_ended_;
  std::span<std::byte> reading_;                       ///< By the read of a `read_write`.
  std::array<std::span<const std::byte>, 2> writing_;  ///< By the write of a `read_write`.
  std::uint64_t written_ = 0;
  bool read_under_way_ = false;
  bool read_joined_ = false;
  bool write_under_way_ = false;
  bool cancelling_write_ = false;
  bool reading_and_writing_ = false;  ///< The action is a `read_write` that has not ended.
  bool writes_ = false;               ///< The last `read_write` has bytes to write.
  bool timer_under_way_ = false;
};

}  // namespace filexfer::detail

#endif
