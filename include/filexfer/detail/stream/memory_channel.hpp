#ifndef FILEXFER_DETAIL_STREAM_MEMORY_CHANNEL_HPP
#define FILEXFER_DETAIL_STREAM_MEMORY_CHANNEL_HPP

#include <filexfer/detail/stream/transfer_operation.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/steady_timer.hpp>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstddef>
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

  explicit memory_channel(std::size_t capacity) : ring_(std::max<std::size_t>(capacity, 1)) {}

  /// Receives or sends, blocking.
  template <io_direction Direction, class Buffers>
  io_result transfer(const Buffers& buffers) {
    std::unique_lock lock{mutex_};
    for (bool waited = false;; waited = true) {
      if (const auto result = attempt<Direction>(buffers)) {
        const bool closed_meanwhile = waited && result->ec == asio::error::bad_descriptor;
        return closed_meanwhile ? io_result{asio::error::operation_aborted} : *result;
      }
      side_of<Direction>().blocked.wait(lock);
    }
  }

  /// See `transfer_operation`; it is always woken by cancelling the timer.
  template <io_direction Direction, class Buffers, class Self>
  std::optional<io_result> attempt_or_wait(const Buffers& buffers,
                                           const asio::any_io_executor& executor,
                                           std::optional<std::error_code> /*woken*/, Self& self) {
    const std::lock_guard lock{mutex_};
    const auto result = attempt<Direction>(buffers);
    if (result) return result;
    auto& signal = side_of<Direction>().signal;
    if (!signal) signal.emplace(executor, asio::steady_timer::time_point::max());
    signal->async_wait(std::move(self));
    return std::nullopt;
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

  template <io_direction Direction>
  waiting_side& side_of() noexcept {
    return side_of(Direction == io_direction::read ? side::receiver : side::sender);
  }

  /// Transfers without waiting; nothing if it would have to wait. The caller holds `mutex_`.
  template <io_direction Direction, class Buffers>
  std::optional<io_result> attempt(const Buffers& buffers) {
    if constexpr (Direction == io_direction::read) return receive(buffers);
    else return send(buffers);
  }

  template <class Buffers>
  std::optional<io_result> receive(const Buffers& to) {
    if (receiver_.state == side_state::closed) return io_result{asio::error::bad_descriptor};
    if (asio::buffer_size(to) == 0) return io_result{};
    if (used_ > 0) {
      const std::size_t first = std::min(used_, ring_.size() - head_);
      const std::array filled{asio::const_buffer{ring_.data() + head_, first},
                              asio::const_buffer{ring_.data(), used_ - first}};
      const std::size_t bytes = asio::buffer_copy(to, filled);
      used_ -= bytes;
      head_ = used_ == 0 ? 0 : (head_ + bytes) % ring_.size();
      sender_.wake();
      return io_result{{}, bytes};
    }
    const bool ended = receiver_.state == side_state::shut || sender_.state != side_state::open;
    if (ended) return io_result{asio::error::eof};
    return std::nullopt;
  }

  template <class Buffers>
  std::optional<io_result> send(const Buffers& from) {
    if (sender_.state == side_state::closed) return io_result{asio::error::bad_descriptor};
    if (asio::buffer_size(from) == 0) return io_result{};
    const bool broken = sender_.state == side_state::shut || receiver_.state != side_state::open;
    if (broken) return io_result{asio::error::broken_pipe};
    if (used_ == ring_.size()) return std::nullopt;
    const std::size_t tail = (head_ + used_) % ring_.size();
    const std::size_t room = ring_.size() - used_;
    const std::size_t first = std::min(room, ring_.size() - tail);
    const std::array empty{asio::mutable_buffer{ring_.data() + tail, first},
                           asio::mutable_buffer{ring_.data(), room - first}};
    const std::size_t bytes = asio::buffer_copy(empty, from);
    used_ += bytes;
    receiver_.wake();
    return io_result{{}, bytes};
  }

  std::mutex mutex_;
  waiting_side sender_;
  waiting_side receiver_;
  std::vector<std::byte> ring_;
  std::size_t head_ = 0;
  std::size_t used_ = 0;
};

}  // namespace filexfer::detail

#endif
