#ifndef FILEXFER_DETAIL_STREAM_FAULT_STATE_HPP
#define FILEXFER_DETAIL_STREAM_FAULT_STATE_HPP

#include <filexfer/detail/stream/buffer_prefix.hpp>
#include <filexfer/detail/stream/transfer_operation.hpp>
#include <filexfer/fault_plan.hpp>
#include <filexfer/stream.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_state.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

namespace filexfer::detail {

/// A fault plan and the bytes transferred so far. Shared with the operations in flight, which may
/// outlive the stream.
class fault_state {
 public:
  enum class verdict { pass, fail, stall };

  struct step {
    verdict kind = verdict::pass;
    std::size_t limit = 0;
    std::error_code ec = {};
  };

  explicit fault_state(const fault_plan& p) noexcept : plan{p} {}

  bool is_reset() const noexcept {
    return reached(plan.reset_after_read, read) || reached(plan.reset_after_written, written);
  }

  step next(io_direction d) const noexcept {
    if (closed) return {verdict::pass, std::numeric_limits<std::size_t>::max()};
    if (is_reset()) return {verdict::fail, 0, asio::error::connection_reset};
    return d == io_direction::read ? next_read() : next_write();
  }

  /// Counts the bytes read into `buffers`, and corrupts them as planned.
  template <class Buffers>
  void on_read(const Buffers& buffers, std::size_t bytes) noexcept {
    const std::uint64_t before = read.fetch_add(bytes);
    if (!plan.flip_read || plan.flip_read->byte < before) return;
    std::uint64_t skip = plan.flip_read->byte - before;
    if (skip >= bytes) return;
    const auto end = asio::buffer_sequence_end(buffers);
    for (auto i = asio::buffer_sequence_begin(buffers); i != end; ++i) {
      const asio::mutable_buffer piece{*i};
      if (skip < piece.size()) {
        flip(static_cast<std::byte*>(piece.data())[skip], *plan.flip_read);
        return;
      }
      skip -= piece.size();
    }
  }

  /// The part of `buffers` to write next. A byte to be corrupted is written alone, from a copy.
  template <class Buffers>
  buffer_prefix<asio::const_buffer> to_write(const Buffers& buffers, std::size_t limit) noexcept {
    if (closed || !plan.flip_written || plan.flip_written->byte != written) {
      return {buffers, limit};
    }
    const std::size_t bytes = asio::buffer_copy(asio::buffer(&damaged_, 1), buffers);
    flip(damaged_, *plan.flip_written);
    return {asio::const_buffer{&damaged_, bytes}, 1};
  }

  /// A timer that never expires: stalled operations wait for its cancellation.
  asio::steady_timer& stall_timer(const asio::any_io_executor& executor) {
    if (!stall_timer_) stall_timer_.emplace(executor, asio::steady_timer::time_point::max());
    return *stall_timer_;
  }

  void cancel_stalled() {
    if (stall_timer_) stall_timer_->cancel();
  }

  fault_plan plan;
  std::atomic<std::uint64_t> read = 0;
  std::atomic<std::uint64_t> written = 0;
  std::atomic<bool> closed = false;

 private:
  using position = std::optional<std::uint64_t>;

  static constexpr std::uint64_t no_offset = std::numeric_limits<std::uint64_t>::max();

  static bool reached(const position& fault, std::uint64_t offset) noexcept {
    return fault && offset >= *fault;
  }

  static void flip(std::byte& byte, const bit_position& target) noexcept {
    byte ^= std::byte{1} << (target.bit % 8);
  }

  /// The bytes from `offset` to the nearest of `stops` behind it, at most `max_bytes`.
  static std::size_t limit(std::size_t max_bytes, std::uint64_t offset,
                           std::initializer_list<std::uint64_t> stops) noexcept {
    std::uint64_t bytes = std::max<std::size_t>(max_bytes, 1);
    for (const std::uint64_t stop : stops) {
      if (stop > offset) bytes = std::min(bytes, stop - offset);
    }
    return static_cast<std::size_t>(bytes);
  }

  static std::uint64_t offset_of(const position& fault) noexcept {
    return fault.value_or(no_offset);
  }

  step next_read() const noexcept {
    if (reached(plan.end_after_read, read)) return {verdict::fail, 0, asio::error::eof};
    if (reached(plan.stall_after_read, read)) return {verdict::stall};
    return {verdict::pass, limit(plan.max_read, read,
                                 {offset_of(plan.end_after_read), offset_of(plan.reset_after_read),
                                  offset_of(plan.stall_after_read)})};
  }

  step next_write() const noexcept {
    if (reached(plan.break_after_written, written)) {
      return {verdict::fail, 0, asio::error::broken_pipe};
    }
    if (reached(plan.stall_after_written, written)) return {verdict::stall};
    const std::uint64_t damage = plan.flip_written ? plan.flip_written->byte : no_offset;
    return {verdict::pass,
            limit(plan.max_write, written,
                  {offset_of(plan.break_after_written), offset_of(plan.reset_after_written),
                   offset_of(plan.stall_after_written), damage})};
  }

  std::optional<asio::steady_timer> stall_timer_;
  std::byte damaged_{};
};

/// The asynchronous transfer, an implementation for `asio::async_compose`. It uses the next layer
/// only inside the initiating function: the stream may be gone later.
template <io_direction Direction, class Layer, class Buffers>
class fault_transfer {
 public:
  fault_transfer(Layer& layer, std::shared_ptr<fault_state> state, const Buffers& buffers)
      : layer_{&layer}, state_{std::move(state)}, buffers_{buffers} {}

  template <class Self>
  void operator()(Self& self, std::error_code ec = {}, std::size_t bytes = 0) {
    switch (stage_) {
      case stage::starting: return start(self);
      case stage::failed: return finish(self, error_, 0);
      case stage::stalled: return finish(self, asio::error::operation_aborted, 0);
      case stage::moving: break;
    }
    if constexpr (Direction == io_direction::read) {
      state_->on_read(buffers_, bytes);
    } else {
      state_->written += bytes;
    }
    const bool was_reset = ec && !state_->closed && state_->is_reset();
    finish(self, was_reset ? asio::error::connection_reset : ec, bytes);
  }

 private:
  enum class stage { starting, failed, stalled, moving };

  template <class Self>
  void start(Self& self) {
    self.reset_cancellation_state(asio::enable_total_cancellation());
    const auto state = state_;
    Layer& layer = *layer_;
    const auto executor = layer.get_executor();
    const bool empty = asio::buffer_size(buffers_) == 0;
    const auto step = empty ? fault_state::step{} : state->next(Direction);
    if (step.kind == fault_state::verdict::fail) {
      if (state->is_reset()) close_stream(layer);
      stage_ = stage::failed;
      error_ = step.ec;
      asio::post(executor, std::move(self));
    } else if (step.kind == fault_state::verdict::stall) {
      stage_ = stage::stalled;
      state->stall_timer(executor).async_wait(std::move(self));
    } else if constexpr (Direction == io_direction::read) {
      stage_ = stage::moving;
      const buffer_prefix<asio::mutable_buffer> to{buffers_, step.limit};
      layer.async_read_some(to, std::move(self));
    } else {
      stage_ = stage::moving;
      const auto from = state->to_write(buffers_, step.limit);
      layer.async_write_some(from, std::move(self));
    }
  }

  template <class Self>
  void finish(Self& self, std::error_code ec, std::size_t bytes) {
    state_.reset();
    self.complete(ec, bytes);
  }

  Layer* layer_;
  std::shared_ptr<fault_state> state_;
  Buffers buffers_;
  stage stage_ = stage::starting;
  std::error_code error_;
};

template <class Layer>
struct executor_type_of {
  using type = void;
};
template <class Layer>
  requires requires { typename Layer::executor_type; }
struct executor_type_of<Layer> {
  using type = typename Layer::executor_type;
};

}  // namespace filexfer::detail

#endif
