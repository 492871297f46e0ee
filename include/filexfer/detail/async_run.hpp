#ifndef FILEXFER_DETAIL_ASYNC_RUN_HPP
#define FILEXFER_DETAIL_ASYNC_RUN_HPP

// The asynchronous driver: runs a flow on a stream as one operation of Asio's, for any completion
// token, with deadlines and cancellation, and with work on an executor of its own.
//
// All state of an operation lives in one allocation, which every handler under way shares. An
// action has up to two parts, I/O and work; the last one to end resumes the flow. Beside them a
// watching read may stand, and one wait of the timer, which is not restarted for each action: when
// it fires early, it waits again. The operation completes when nothing is under way any more.
//
// A mutex orders the handlers. A strand can't be counted on: the executor of `asio::use_future`,
// for one, runs a handler on whatever thread has it.

#include <filexfer/detail/flow.hpp>
#include <filexfer/detail/run.hpp>
#include <filexfer/detail/work_guard.hpp>
#include <filexfer/error.hpp>
#include <filexfer/options.hpp>
#include <filexfer/stream.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/basic_waitable_timer.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer::detail {

/// What a driver is told beside the flow.
struct driver_settings {
  time_limits limits;
  /// Where work goes; empty for work in place.
  asio::any_io_executor work_executor;
};

template <class T>
struct flow_value;
template <class T>
struct flow_value<flow<T>> {
  using type = T;
};

template <class Stream, class T, class Handler, class Timer>
class async_operation
    : public std::enable_shared_from_this<async_operation<Stream, T, Handler, Timer>> {
  using clock = typename Timer::clock_type;
  using executor = asio::associated_executor_t<Handler, typename Stream::executor_type>;
  using allocator = asio::associated_allocator_t<Handler>;
  using pointer = std::shared_ptr<async_operation>;

 public:
  template <class MakeFlow, class AnyHandler>
  async_operation(Stream& stream, const driver_settings& settings, MakeFlow& make_flow,
                  AnyHandler&& handler)
      : handler_(std::forward<AnyHandler>(handler)),
        stream_{stream},
        executor_{asio::get_associated_executor(handler_, stream.get_executor())},
        allocator_{asio::get_associated_allocator(handler_)},
        stream_guard_{stream.get_executor()},
        guard_{executor_},
        settings_{settings},
        timer_{stream.get_executor()},
        flow_{make_flow(ec_)} {}

  /// The flow starts on the handler's executor, never inside the initiating function.
  void start() {
    const auto slot = asio::get_associated_cancellation_slot(handler_);
    if (slot.is_connected()) {
      // The slot is cleared when this operation ends, but not when its context is destroyed before.
      auto on_cancel = [weak = this->weak_from_this()](asio::cancellation_type type) {
        if (const pointer kept = weak.lock()) kept->cancel(type);
      };
      asio::get_associated_cancellation_slot(handler_).assign(std::move(on_cancel));
    }
    flow_->start(context_);
    asio::post(stream_guard_.get_executor(),
               plain_handler{this->shared_from_this(), &async_operation::step});
  }

 private:
  // Handlers of this operation's parts: each holds it alive, and runs on the user's executor.

  struct part_handler {
    using executor_type = executor;
    using allocator_type = allocator;
    part_handler(pointer p) noexcept : self{std::move(p)}, memory{self->allocator_} {}
    executor_type get_executor() const noexcept { return self->executor_; }
    // Asio 1.22 asks a dispatched handler for it after having moved from that handler.
    allocator_type get_allocator() const noexcept { return memory; }
    pointer self;
    allocator memory;
  };

  struct plain_handler : part_handler {
    plain_handler(pointer p, void (async_operation::*call_)())
        : part_handler{std::move(p)}, call{call_} {}
    void operator()() {
      const pointer kept = std::move(this->self);
      const std::lock_guard lock{kept->mutex_};
      (kept.get()->*call)();
    }
    void (async_operation::*call)();
  };

  struct io_handler : part_handler {
    using cancellation_slot_type = asio::cancellation_slot;
    using call_type = void (async_operation::*)(std::error_code, std::size_t);
    io_handler(pointer p, asio::cancellation_signal& signal, call_type call_)
        : part_handler{std::move(p)}, slot{signal.slot()}, call{call_} {}
    cancellation_slot_type get_cancellation_slot() const noexcept { return slot; }
    void operator()(std::error_code ec, std::size_t octets = 0) {
      const pointer kept = std::move(this->self);
      const std::lock_guard lock{kept->mutex_};
      (kept.get()->*call)(ec, octets);
    }
    asio::cancellation_slot slot;
    call_type call;
  };

  // --------------------------------------------------------------------------------------- the loop

  /// Resumes the flow, and does what it asks, until something is under way or it has ended.
  void step() {
    for (;;) {
      action_ = advance(context_);
      if (action_ == nullptr) {
        flow_ended_ = true;
        finish_if_idle();
        return;
      }
      if (!start_parts()) return;
    }
  }

  /// Starts the parts of the action; true if they have all ended at once.
  bool start_parts() {
    work_base* const work = action_->work;
    if (cancelled_) {
      if (action_->io == io_kind::close) close_stream(stream_);
      if (work != nullptr) work->cancel();
      context_.result.error = asio::error::operation_aborted;
      return true;
    }
    parts_ = 1;  // this function's hold
    start_io();
    if (work != nullptr) {
      if (settings_.work_executor) start_work(*work);
      else work->run();
    }
    return --parts_ == 0;
  }

  void end_part() {
    if (--parts_ == 0) step();
  }

  void start_work(work_base& work) {
    ++parts_;
    asio::post(settings_.work_executor, [kept = this->shared_from_this(), &work]() mutable {
      work.run();
      const auto stream_executor = kept->stream_guard_.get_executor();
      asio::post(stream_executor, plain_handler{std::move(kept), &async_operation::end_part});
    });
  }

  /// Delivers what the watching read has brought, if it has ended.
  void deliver_watched() {
    if (!watch_ended_) return;
    context_.result.watched = std::exchange(watch_ended_, std::nullopt);
  }

  // -------------------------------------------------------------------------------------------- I/O

  void start_io() {
    timed_out_ = false;
    switch (action_->io) {
      case io_kind::none: return;
      case io_kind::shutdown_send: shutdown_send(stream_); return;
      case io_kind::close: close_stream(stream_); return;
      case io_kind::read_some:
      case io_kind::read_full:
        if (join_watch()) return;
        break;
      case io_kind::write:
      case io_kind::send_file: break;
    }
    if (octets_wanted(*action_) == 0) return;
    if (action_->interruptible && stopping_) {
      context_.result.error = errc::shutting_down;
      return;
    }
    ++parts_;
    io_under_way_ = true;
    if (!action_->watch.empty() && !watch_under_way_ && !watch_ended_) start_watch();
    set_deadline();
    initiate_io();
  }

  void initiate_io() {
    const std::uint64_t done = context_.result.octets;
    io_handler handler{this->shared_from_this(), io_signal_, &async_operation::on_io};
    switch (action_->io) {
      case io_kind::write:
        stream_.async_write_some(buffers_after(action_->from, done), std::move(handler));
        return;
      case io_kind::send_file:
        if constexpr (file_sending_stream<Stream>) {
          stream_.async_wait(Stream::wait_write, std::move(handler));
        }
        return;
      default: {
        const auto into = action_->into.subspan(static_cast<std::size_t>(done));
        stream_.async_read_some(asio::buffer(into.data(), into.size()), std::move(handler));
      }
    }
  }

  void on_io(std::error_code ec, std::size_t octets) {
    outcome& out = context_.result;
    if constexpr (file_sending_stream<Stream>) {
      if (action_->io == io_kind::send_file && !ec) octets = send_some(ec);
    }
    out.octets += octets;
    if (!ec && out.octets < octets_wanted(*action_)) {
      if (cancelled_ || timed_out_) {
        ec = asio::error::operation_aborted;
      } else {
        if (octets > 0) progress();
        initiate_io();
        return;
      }
    }
    end_io(ec);
  }

  void end_io(std::error_code ec) {
    io_under_way_ = false;
    if (ec == asio::error::operation_aborted && !cancelled_) {
      if (timed_out_) ec = errc::timed_out;
      else if (stopping_ && action_->interruptible) ec = errc::shutting_down;
    }
    context_.result.error = translated(ec);
    deliver_watched();
    end_part();
  }

  std::size_t send_some(std::error_code& ec)
    requires file_sending_stream<Stream>
  {
    const std::uint64_t done = context_.result.octets;
    const file_range& all = action_->file;
    const file_range left{all.descriptor, all.offset + done, all.octets - done};
    const std::size_t sent = send_file_some(stream_.native_handle(), left, ec);
    if (ec == std::errc::operation_would_block) ec.clear();
    return sent;
  }

  // A read that stands while the flow writes.

  void start_watch() {
    watch_under_way_ = true;
    const auto into = action_->watch;
    stream_.async_read_some(
        asio::buffer(into.data(), into.size()),
        io_handler{this->shared_from_this(), watch_signal_, &async_operation::on_watch});
  }

  /// A read while a watching read stands is that read. True if it is taken care of.
  bool join_watch() {
    if (watch_ended_) {
      context_.result.error = watch_ended_->error;
      context_.result.octets = watch_ended_->octets;
      watch_ended_.reset();
      return true;
    }
    if (!watch_under_way_) return false;
    ++parts_;
    watch_joined_ = true;
    io_under_way_ = true;
    set_deadline();
    return true;
  }

  void on_watch(std::error_code ec, std::size_t octets) {
    watch_under_way_ = false;
    if (watch_joined_) {
      watch_joined_ = false;
      context_.result.octets = octets;
      end_io(ec);
    } else {
      watch_ended_ = outcome::watch_end{translated(ec), octets};
      if (flow_ended_) finish_if_idle();
    }
  }

  // ---------------------------------------------------------------------- deadlines and cancellation

  void set_deadline() {
    const time_limits& limits = settings_.limits;
    const auto now = clock::now();
    if (!action_->continues_deadline) {
      switch (action_->deadline) {
        case deadline::line: deadline_ = after(now, limits.line); break;
        case deadline::reply: deadline_ = after(now, limits.reply); break;
        case deadline::linger: deadline_ = after(now, limits.linger); break;
        case deadline::octets: {
          deadline_ = after(now, limits.idle);
          latest_ = clock::time_point::max();
          if (limits.least_rate > 0) {
            const std::uint64_t seconds = octets_wanted(*action_) / limits.least_rate;
            latest_ = after(deadline_, std::chrono::seconds{seconds});
          }
          break;
        }
      }
    }
    start_timer();
  }

  /// `start` and `limit` together, or the end of time.
  static typename clock::time_point after(typename clock::time_point start,
                                          std::chrono::milliseconds limit) {
    using seconds = std::chrono::duration<double>;
    const auto most = clock::time_point::max();
    return seconds{limit} < seconds{most - start}
               ? start + std::chrono::duration_cast<typename clock::duration>(limit)
               : most;
  }

  /// Octets have moved: an idle time begins anew, up to what the least rate allows.
  void progress() {
    if (action_->deadline != deadline::octets) return;
    deadline_ = std::min(after(clock::now(), settings_.limits.idle), latest_);
  }

  void start_timer() {
    if (timer_under_way_) {
      if (timer_.expiry() > deadline_) timer_.cancel();  // on_timer starts it again
      return;
    }
    timer_under_way_ = true;
    timer_.expires_at(deadline_);
    timer_.async_wait(plain_timer_handler{{this->shared_from_this()}});
  }

  struct plain_timer_handler : part_handler {
    void operator()(std::error_code) {
      const pointer kept = std::move(this->self);
      const std::lock_guard lock{kept->mutex_};
      kept->on_timer();
    }
  };

  void on_timer() {
    timer_under_way_ = false;
    if (flow_ended_) {
      finish_if_idle();
    } else if (io_under_way_ && !timed_out_) {
      if (clock::now() < deadline_) {
        start_timer();
      } else {
        timed_out_ = true;
        abort_io();
      }
    }
  }

  void abort_io() {
    (watch_joined_ ? watch_signal_ : io_signal_).emit(asio::cancellation_type::terminal);
  }

  void cancel(asio::cancellation_type type) {
    const std::lock_guard lock{mutex_};
    if ((type & asio::cancellation_type::terminal) != asio::cancellation_type::none) {
      cancelled_ = true;
      if (io_under_way_) abort_io();
    } else if (type != asio::cancellation_type::none) {
      stopping_ = true;
      if (io_under_way_ && action_->interruptible) abort_io();
    }
  }

  // ------------------------------------------------------------------------------------- completion

  void finish_if_idle() {
    if (watch_under_way_) watch_signal_.emit(asio::cancellation_type::terminal);
    if (timer_under_way_) timer_.cancel();
    if (watch_under_way_ || timer_under_way_ || finished_) return;
    finished_ = true;
    asio::get_associated_cancellation_slot(handler_).clear();
    // Everything that belongs to the operation is freed before the handler runs, but this object
    // itself, which the caller of this function still holds: so the handler is posted.
    if constexpr (std::is_void_v<T>) {
      flow_->take(ec_);
      flow_.reset();
      complete();
    } else {
      T value = flow_->take(ec_);
      flow_.reset();
      complete(std::move(value));
    }
  }

  template <class... Value>
  void complete(Value... value) {
    if (cancelled_ && ec_) ec_ = asio::error::operation_aborted;
    auto bound = [handler = std::move(handler_), ec = ec_,
                  ... values = std::move(value)]() mutable {
      std::move(handler)(ec, std::move(values)...);
    };
    completion<decltype(bound)> posted{std::move(bound), executor_, allocator_};
    asio::post(std::move(posted));
  }

  template <class Call>
  struct completion {
    using executor_type = executor;
    using allocator_type = allocator;
    executor_type get_executor() const noexcept { return executor_; }
    allocator_type get_allocator() const noexcept { return allocator_; }
    void operator()() { call_(); }
    Call call_;
    executor executor_;
    allocator allocator_;
  };

  Handler handler_;
  Stream& stream_;
  executor executor_;
  allocator allocator_;
  work_guard<typename Stream::executor_type> stream_guard_;
  work_guard<executor> guard_;
  driver_settings settings_;
  std::recursive_mutex mutex_;  // a flow may cancel its own operation

  asio::cancellation_signal io_signal_;
  asio::cancellation_signal watch_signal_;
  Timer timer_;
  typename clock::time_point deadline_{};
  typename clock::time_point latest_{};

  action* action_ = nullptr;
  std::optional<outcome::watch_end> watch_ended_;
  int parts_ = 0;
  bool io_under_way_ = false;
  bool watch_under_way_ = false;
  bool watch_joined_ = false;
  bool timer_under_way_ = false;
  bool timed_out_ = false;
  bool cancelled_ = false;
  bool stopping_ = false;
  bool flow_ended_ = false;
  bool finished_ = false;

  std::error_code ec_;
  flow_context context_;
  std::optional<flow<T>> flow_;
};

template <class T>
struct completion_signature {
  using type = void(std::error_code, T);
};
template <>
struct completion_signature<void> {
  using type = void(std::error_code);
};

/// Runs `make_flow(ec)`'s flow on `stream` as an asynchronous operation. The stream, and what the
/// flow refers to, must live until it completes.
template <class Timer, class Stream, class MakeFlow, class Token>
auto async_run(Stream& stream, const driver_settings& settings, MakeFlow make_flow, Token&& token) {
  using value = typename flow_value<std::invoke_result_t<MakeFlow&, std::error_code&>>::type;
  auto initiate = [](auto&& handler, Stream* on, driver_settings with, MakeFlow make) {
    using handler_type = std::decay_t<decltype(handler)>;
    using operation_type = async_operation<Stream, value, handler_type, Timer>;
    const auto memory = asio::get_associated_allocator(handler);
    const auto operation = std::allocate_shared<operation_type>(
        memory, *on, with, make, std::forward<decltype(handler)>(handler));
    operation->start();
  };
  return asio::async_initiate<Token, typename completion_signature<value>::type>(
      std::move(initiate), token, &stream, settings, std::move(make_flow));
}

}  // namespace filexfer::detail

#endif
