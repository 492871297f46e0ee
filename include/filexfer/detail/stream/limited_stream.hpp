#ifndef FILEXFER_DETAIL_STREAM_LIMITED_STREAM_HPP
#define FILEXFER_DETAIL_STREAM_LIMITED_STREAM_HPP

// A layer over a stream that keeps to a rate, which several streams share.

#include <filexfer/detail/stream/buffer_prefix.hpp>
#include <filexfer/stream.hpp>

#include <asio/async_result.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_state.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/compose.hpp>
#include <asio/error.hpp>
#include <asio/socket_base.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// A rate that is kept to by waiting, before each transfer, until the time that all transfers so
/// far should have taken has passed. So no transfer waits more than once, and none is overtaken for
/// long. Thread-safe.
template <class Clock>
class rate_limit {
 public:
  using time_point = typename Clock::time_point;

  /// `bytes_per_second` must not be 0.
  explicit rate_limit(std::uint64_t bytes_per_second) : rate_{bytes_per_second} {}

  /// The most bytes of one transfer: a tenth of a second's, so that the peer sees bytes often
  /// enough for its own deadlines, but not so few that most of the time goes into system calls.
  std::size_t max_transfer() const noexcept {
    constexpr std::uint64_t least = 1024;
    constexpr std::uint64_t most = std::uint64_t{1} << 20;
    return static_cast<std::size_t>(std::clamp(rate_ / 10, least, most));
  }

  /// When the next transfer may start; in the past if at once.
  time_point next() const {
    const std::lock_guard lock{mutex_};
    return next_;
  }

  /// `bytes` were transferred.
  void add(std::size_t bytes) {
    // Time up to this is made up for, so that timers that fire late don't lower the rate.
    constexpr std::chrono::milliseconds slack{100};
    const std::lock_guard lock{mutex_};
    next_ = std::max(next_, Clock::now() - slack) + time_of(bytes);
  }

  /// How long `bytes` take.
  typename Clock::duration time_of(std::uint64_t bytes) const {
    const std::chrono::duration<double> time{static_cast<double>(bytes) /
                                             static_cast<double>(rate_)};
    return std::chrono::duration_cast<typename Clock::duration>(time);
  }

 private:
  std::uint64_t rate_;
  mutable std::mutex mutex_;
  time_point next_{};
};

/// A stream over `NextLayer` that keeps to a limit, if it has one. Must not be moved while an
/// operation is in flight.
template <class NextLayer, class Timer>
class limited_stream {
 public:
  using next_layer_type = NextLayer;
  using executor_type = typename executor_of<NextLayer>::type;
  using limit_type = rate_limit<typename Timer::clock_type>;

  /// `limit` is null for none.
  limited_stream(NextLayer next, std::shared_ptr<limit_type> limit)
      : next_{std::move(next)}, limit_{std::move(limit)} {
    if (!limit_) return;
    read_timer_ = std::make_unique<Timer>(next_.get_executor());
    write_timer_ = std::make_unique<Timer>(next_.get_executor());
  }

  executor_type get_executor() { return next_.get_executor(); }

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& to, Token&& token) {
    return start(to, read_timer_.get(), reading{}, token);
  }

  template <class Buffers, class Token>
  auto async_write_some(const Buffers& from, Token&& token) {
    return start(from, write_timer_.get(), writing{}, token);
  }

  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec)
    requires half_closable_stream<NextLayer>
  {
    next_.shutdown(what, ec);
  }

  void close(std::error_code& ec)
    requires closable_stream<NextLayer>
  {
    next_.close(ec);
  }

  std::optional<std::string> end_reason() { return stream_end_reason(next_); }

 private:
  struct reading {
    using buffer = asio::mutable_buffer;
    template <class Buffers, class Handler>
    void operator()(NextLayer& next, const Buffers& to, Handler&& handler) const {
      next.async_read_some(to, std::forward<Handler>(handler));
    }
  };
  struct writing {
    using buffer = asio::const_buffer;
    template <class Buffers, class Handler>
    void operator()(NextLayer& next, const Buffers& from, Handler&& handler) const {
      next.async_write_some(from, std::forward<Handler>(handler));
    }
  };

  /// Waits, transfers, and counts the bytes.
  template <class Buffers, class Start>
  class operation {
   public:
    operation(limited_stream& stream, Timer& timer, const Buffers& buffers)
        : stream_{&stream}, timer_{&timer}, buffers_{buffers} {}

    template <class Self>
    void operator()(Self& self) {
      const auto when = stream_->limit_->next();
      if (when <= Timer::clock_type::now()) return transfer(self);
      Timer& timer = *timer_;
      timer.expires_at(when);
      timer.async_wait(std::move(self));
    }

    /// The wait has ended.
    template <class Self>
    void operator()(Self& self, std::error_code ec) {
      if (self.get_cancellation_state().cancelled() != asio::cancellation_type::none) {
        ec = asio::error::operation_aborted;
      }
      if (ec) self.complete(ec, 0);
      else transfer(self);
    }

    template <class Self>
    void operator()(Self& self, std::error_code ec, std::size_t bytes) {
      stream_->limit_->add(bytes);
      self.complete(ec, bytes);
    }

   private:
    template <class Self>
    void transfer(Self& self) {
      NextLayer& next = stream_->next_;
      using prefix = buffer_prefix<typename Start::buffer>;
      const prefix some{buffers_, stream_->limit_->max_transfer()};
      Start{}(next, some, std::move(self));
    }

    limited_stream* stream_;
    Timer* timer_;
    Buffers buffers_;
  };

  template <class Buffers, class Start, class Token>
  auto start(const Buffers& buffers, Timer* timer, Start, Token& token) {
    return asio::async_initiate<Token, void(std::error_code, std::size_t)>(
        [](auto handler, limited_stream* self, Timer* waits, const Buffers& some) {
          if (waits == nullptr) return Start{}(self->next_, some, std::move(handler));
          asio::async_compose<decltype(handler), void(std::error_code, std::size_t)>(
              operation<Buffers, Start>{*self, *waits, some}, handler, self->next_);
        },
        token, this, timer, buffers);
  }

  NextLayer next_;
  std::shared_ptr<limit_type> limit_;
  std::unique_ptr<Timer> read_timer_;  ///< Null, as the other, if there is no limit.
  std::unique_ptr<Timer> write_timer_;
};

}  // namespace filexfer::detail

#endif
