#ifndef FILEXFER_FAULT_STREAM_HPP
#define FILEXFER_FAULT_STREAM_HPP

/// \file
/// A layer over a stream, for tests: cuts, stalls, corrupts or breaks it at a chosen byte.

#include <filexfer/detail/stream/fault_state.hpp>
#include <filexfer/fault_plan.hpp>
#include <filexfer/stream.hpp>

#include <asio/buffer.hpp>
#include <asio/compose.hpp>
#include <asio/error.hpp>
#include <asio/socket_base.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer {

/// A stream layer that passes bytes to and from `NextLayer` and injects the faults of a plan.
///
/// It offers what the next layer offers: blocking and asynchronous reads and writes, `shutdown` and
/// `close`. The next layer's rules for threads apply. Closing or destroying this stream completes
/// stalled operations with `asio::error::operation_aborted`; closing the next layer directly does
/// not.
/// \snippet streams.cpp fault_stream
///
/// \tparam NextLayer The next layer, which `fault_stream<S&>` refers to and does not own.
///
///     filexfer::fault_stream<filexfer::memory_pipe> stream{std::move(end), {.max_read = 1}};
template <class NextLayer>
class fault_stream {
 public:
  /// The type of the next layer.
  using next_layer_type = std::remove_reference_t<NextLayer>;
  /// The next layer's; `void` if that has none and only offers blocking operations.
  using executor_type = typename detail::executor_type_of<next_layer_type>::type;

  /// \param next The next layer, moved in; or a reference to it, which must outlive this stream.
  /// \param plan The faults.
  explicit fault_stream(NextLayer next, const fault_plan& plan = {})
      : next_{static_cast<NextLayer&&>(next)},
        state_{std::make_shared<detail::fault_state>(plan)} {}

  /// A moved-from stream can only be destroyed or assigned to.
  fault_stream(fault_stream&&) noexcept(std::is_nothrow_move_constructible_v<NextLayer>) = default;

  /// Completes this stream's stalled operations with `operation_aborted` first.
  /// \param other The stream to move from.
  /// \return This stream.
  fault_stream& operator=(fault_stream&& other) noexcept(
      std::is_nothrow_move_assignable_v<NextLayer>)
    requires(!std::is_reference_v<NextLayer>)
  {
    if (state_) state_->cancel_stalled();
    next_ = std::move(other.next_);
    state_ = std::move(other.state_);
    return *this;
  }

  /// Completes stalled operations with `operation_aborted`.
  ~fault_stream() {
    if (state_) state_->cancel_stalled();
  }

  /// \return The executor of the next layer.
  executor_type get_executor() noexcept
    requires(!std::is_void_v<executor_type>)
  {
    return next_.get_executor();
  }

  /// \return The next layer.
  next_layer_type& next_layer() noexcept { return next_; }
  /// \return The next layer.
  const next_layer_type& next_layer() const noexcept { return next_; }

  /// \return The current plan.
  const fault_plan& plan() const noexcept { return state_->plan; }

  /// Changes the plan for the operations that start later.
  /// \snippet streams.cpp plan
  /// \param plan The new plan. Its positions count from the stream's beginning, too.
  void plan(const fault_plan& plan) noexcept { state_->plan = plan; }

  /// \return The total number of bytes read.
  std::uint64_t bytes_read() const noexcept { return state_->read; }
  /// \return The total number of bytes written.
  std::uint64_t bytes_written() const noexcept { return state_->written; }

  /// Reads from the next layer, subject to the plan.
  ///
  /// \param buffers One or more buffers into which the data is read.
  /// \param ec The plan's `asio::error::connection_reset` or `eof`; `timed_out` for a stall; the
  ///   next layer's errors.
  /// \return The number of bytes read.
  template <class MutableBuffers>
  std::size_t read_some(const MutableBuffers& buffers, std::error_code& ec) {
    const auto step = next(direction::read, buffers, ec);
    if (ec) return 0;
    const detail::buffer_prefix<asio::mutable_buffer> to{buffers, step.limit};
    const std::size_t bytes = next_.read_some(to, ec);
    state_->on_read(buffers, bytes);
    map_to_reset(ec);
    return bytes;
  }

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param buffers One or more buffers into which the data is read.
  /// \return The number of bytes read.
  template <class MutableBuffers>
  std::size_t read_some(const MutableBuffers& buffers) {
    std::error_code ec;
    const std::size_t bytes = read_some(buffers, ec);
    if (ec) throw std::system_error{ec, "fault_stream: read_some"};
    return bytes;
  }

  /// Writes to the next layer, subject to the plan.
  ///
  /// \param buffers One or more buffers to be written.
  /// \param ec The plan's `asio::error::connection_reset` or `broken_pipe`; `timed_out` for a
  ///   stall; the next layer's errors.
  /// \return The number of bytes written.
  template <class ConstBuffers>
  std::size_t write_some(const ConstBuffers& buffers, std::error_code& ec) {
    const auto step = next(direction::write, buffers, ec);
    if (ec) return 0;
    const std::size_t bytes = next_.write_some(state_->to_write(buffers, step.limit), ec);
    state_->written += bytes;
    map_to_reset(ec);
    return bytes;
  }

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param buffers One or more buffers to be written.
  /// \return The number of bytes written.
  template <class ConstBuffers>
  std::size_t write_some(const ConstBuffers& buffers) {
    std::error_code ec;
    const std::size_t bytes = write_some(buffers, ec);
    if (ec) throw std::system_error{ec, "fault_stream: write_some"};
    return bytes;
  }

  /// Starts an asynchronous read from the next layer, subject to the plan.
  ///
  /// Handler: `void(std::error_code, std::size_t bytes)`. Errors: the plan's
  /// `asio::error::connection_reset` or `eof`; `operation_aborted` if a stalled read is cancelled,
  /// or the stream closed or destroyed meanwhile; the next layer's.
  ///
  /// Cancellation: passed on to the next layer (all types); a stalled read has read nothing.
  ///
  /// \param buffers One or more buffers into which the data is read. Their memory must remain valid
  ///   until the handler is called.
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class MutableBuffers, class CompletionToken>
  auto async_read_some(const MutableBuffers& buffers, CompletionToken&& token) {
    return start<direction::read>(buffers, token);
  }

  /// Starts an asynchronous write to the next layer, subject to the plan.
  ///
  /// Handler: `void(std::error_code, std::size_t bytes)`. Errors: the plan's
  /// `asio::error::connection_reset` or `broken_pipe`; `operation_aborted` if a stalled write is
  /// cancelled, or the stream closed or destroyed meanwhile; the next layer's.
  ///
  /// Cancellation: passed on to the next layer (all types); a stalled write has written nothing.
  ///
  /// \param buffers One or more buffers to be written. Their memory must remain valid until the
  ///   handler is called.
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class ConstBuffers, class CompletionToken>
  auto async_write_some(const ConstBuffers& buffers, CompletionToken&& token) {
    return start<direction::write>(buffers, token);
  }

  /// Shuts down the next layer.
  /// \param what The direction, or both.
  /// \param ec The next layer's errors.
  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec)
    requires requires(next_layer_type& layer) { layer.shutdown(what, ec); }
  {
    next_.shutdown(what, ec);
  }

  /// Closes the next layer. Stalled operations complete with `operation_aborted`.
  /// \param ec The next layer's errors.
  void close(std::error_code& ec)
    requires closable_stream<next_layer_type>
  {
    state_->closed = true;
    state_->cancel_stalled();
    next_.close(ec);
  }

  /// As the overload with an error code, but throws `std::system_error`.
  void close()
    requires closable_stream<next_layer_type>
  {
    std::error_code ec;
    close(ec);
    if (ec) throw std::system_error{ec, "fault_stream: close"};
  }

  /// \return Whether the next layer is open.
  bool is_open() const
    requires requires(const next_layer_type& layer) { layer.is_open(); }
  {
    return next_.is_open();
  }

 private:
  using direction = detail::io_direction;
  using verdict = detail::fault_state::verdict;

  template <direction Direction, class Buffers, class CompletionToken>
  auto start(const Buffers& buffers, CompletionToken& token) {
    return asio::async_compose<CompletionToken, void(std::error_code, std::size_t)>(
        detail::fault_transfer<Direction, next_layer_type, Buffers>{next_, state_, buffers}, token,
        next_.get_executor());
  }

  template <class Buffers>
  detail::fault_state::step next(direction d, const Buffers& buffers, std::error_code& ec) {
    ec.clear();
    if (asio::buffer_size(buffers) == 0) return {};
    const auto step = state_->next(d);
    if (step.kind == verdict::stall) ec = asio::error::timed_out;
    if (step.kind == verdict::fail) {
      ec = step.ec;
      if (state_->is_reset()) detail::close_stream(next_);
    }
    return step;
  }

  /// Reports the next layer's error as the reset, if that was due.
  void map_to_reset(std::error_code& ec) const noexcept {
    if (ec && !state_->closed && state_->is_reset()) ec = asio::error::connection_reset;
  }

  NextLayer next_;
  std::shared_ptr<detail::fault_state> state_;
};

}  // namespace filexfer

#endif
