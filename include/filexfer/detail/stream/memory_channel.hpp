#ifndef FILEXFER_DETAIL_STREAM_MEMORY_CHANNEL_HPP
#define FILEXFER_DETAIL_STREAM_MEMORY_CHANNEL_HPP

#include <asio/any_io_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_state.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

namespace filexfer::detail {

/// One direction of a memory pipe: a ring buffer between a sending and a receiving side.
///
/// Each side waits on its own condition variable (blocking) or on its own timer (asynchronous),
/// which never expires and is cancelled as a signal. A timer belongs to an execution context, which
/// the other end may outlive: closing an end destroys its timer.
class memory_channel {
 public:
  enum class side { sender, receiver };
  enum class side_state { open, shut, closed };

  struct outcome {
    std::error_code ec;
    std::size_t bytes = 0;
  };

  explicit memory_channel(std::size_t capacity) : ring_(std::max<std::size_t>(capacity, 1)) {}

  /// Receives without waiting; nothing if it would have to wait. The caller holds `mutex()`.
  template <class Buffers>
  std::optional<outcome> attempt_receive(const Buffers& to) {
    if (receiver_.state == side_state::closed) return outcome{asio::error::bad_descriptor};
    if (asio::buffer_size(to) == 0) return outcome{};
    if (used_ > 0) {
      const std::size_t first = std::min(used_, ring_.size() - head_);
      const std::array filled{asio::const_buffer{ring_.data() + head_, first},
                              asio::const_buffer{ring_.data(), used_ - first}};
      const std::size_t bytes = asio::buffer_copy(to, filled);
      used_ -= bytes;
      head_ = used_ == 0 ? 0 : (head_ + bytes) % ring_.size();
      sender_.wake();
      return outcome{{}, bytes};
    }
    const bool ended = receiver_.state == side_state::shut || sender_.state != side_state::open;
    if (ended) return outcome{asio::error::eof};
    return std::nullopt;
  }

  /// Sends likewise.
  template <class Buffers>
  std::optional<outcome> attempt_send(const Buffers& from) {
    if (sender_.state == side_state::closed) return outcome{asio::error::bad_descriptor};
    if (asio::buffer_size(from) == 0) return outcome{};
    const bool broken = sender_.state == side_state::shut || receiver_.state != side_state::open;
    if (broken) return outcome{asio::error::broken_pipe};
    if (used_ == ring_.size()) return std::nullopt;
    const std::size_t tail = (head_ + used_) % ring_.size();
    const std::size_t room = ring_.size() - used_;
    const std::size_t first = std::min(room, ring_.size() - tail);
    const std::array empty{asio::mutable_buffer{ring_.data() + tail, first},
                           asio::mutable_buffer{ring_.data(), room - first}};
    const std::size_t bytes = asio::buffer_copy(empty, from);
    used_ += bytes;
    receiver_.wake();
    return outcome{{}, bytes};
  }

  template <side Side, class Buffers>
  std::optional<outcome> attempt(const Buffers& buffers) {
    if constexpr (Side == side::receiver) return attempt_receive(buffers);
    else return attempt_send(buffers);
  }

  template <side Side, class Buffers>
  outcome transfer(const Buffers& buffers) {
    std::unique_lock lock{mutex_};
    for (bool waited = false;; waited = true) {
      if (const auto done = attempt<Side>(buffers)) {
        if (waited && done->ec == asio::error::bad_descriptor) {
          return {asio::error::operation_aborted};
        }
        return *done;
      }
      side_of(Side).blocked.wait(lock);
    }
  }

  /// The timer that side `s` waits on. The caller holds `mutex()`.
  asio::steady_timer& signal(side s, const asio::any_io_executor& executor) {
    auto& timer = side_of(s).signal;
    if (!timer) timer.emplace(executor, asio::steady_timer::time_point::max());
    return *timer;
  }

  void end(side s, side_state state) noexcept {
    const std::lock_guard lock{mutex_};
    side_of(s).state = state;
    if (s == side::receiver) used_ = head_ = 0;
    sender_.wake();
    receiver_.wake();
    if (state == side_state::closed) side_of(s).signal.reset();
  }

  bool is_open(side s) noexcept {
    const std::lock_guard lock{mutex_};
    return side_of(s).state != side_state::closed;
  }

  std::mutex& mutex() noexcept { return mutex_; }

 private:
  struct waiting_side {
    side_state state = side_state::open;
    std::condition_variable blocked;
    std::optional<asio::steady_timer> signal;

    void wake() {
      blocked.notify_all();
      if (signal) signal->cancel();
    }
  };

  waiting_side& side_of(side s) noexcept { return s == side::sender ? sender_ : receiver_; }

  std::mutex mutex_;
  waiting_side sender_;
  waiting_side receiver_;
  std::vector<std::byte> ring_;
  std::size_t head_ = 0;
  std::size_t used_ = 0;
};

/// The asynchronous transfer, an implementation for `asio::async_compose`.
template <memory_channel::side Side, class Buffers>
class memory_transfer {
 public:
  memory_transfer(std::shared_ptr<memory_channel> channel, asio::any_io_executor executor,
                  const Buffers& buffers)
      : channel_{std::move(channel)}, executor_{std::move(executor)}, buffers_{buffers} {}

  template <class Self>
  void operator()(Self& self, std::error_code = {}) {
    if (stage_ == stage::posted) return finish(self, result_);
    if (stage_ == stage::starting) {
      self.reset_cancellation_state(asio::enable_total_cancellation());
    } else if (self.get_cancellation_state().cancelled() != asio::cancellation_type::none) {
      return finish(self, {asio::error::operation_aborted});
    }
    const auto channel = channel_;  // keeps the mutex alive when this object moves away
    if (!channel) return post(self, {asio::error::bad_descriptor});
    std::unique_lock lock{channel->mutex()};
    if (const auto done = channel->template attempt<Side>(buffers_)) {
      lock.unlock();
      if (stage_ == stage::starting) return post(self, *done);
      const bool closed = done->ec == asio::error::bad_descriptor;
      return finish(self, closed ? outcome{asio::error::operation_aborted} : *done);
    }
    stage_ = stage::waiting;
    auto& signal = channel->signal(Side, executor_);
    signal.async_wait(std::move(self));
  }

 private:
  using outcome = memory_channel::outcome;
  enum class stage { starting, waiting, posted };

  template <class Self>
  void post(Self& self, outcome result) {
    stage_ = stage::posted;
    result_ = result;
    const auto executor = executor_;
    asio::post(executor, std::move(self));
  }

  template <class Self>
  void finish(Self& self, outcome result) {
    channel_.reset();
    self.complete(result.ec, result.bytes);
  }

  std::shared_ptr<memory_channel> channel_;
  asio::any_io_executor executor_;
  Buffers buffers_;
  stage stage_ = stage::starting;
  outcome result_;
};

}  // namespace filexfer::detail

#endif
