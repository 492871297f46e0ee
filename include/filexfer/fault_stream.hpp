#ifndef FILEXFER_FAULT_STREAM_HPP
#define FILEXFER_FAULT_STREAM_HPP

/// \file
/// A stream around a stream that cuts, stalls, corrupts or breaks at a chosen byte: for tests.

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

/// A stream that passes bytes on to and from `NextLayer`, and does to them what a plan says.
///
/// It offers what the next layer offers: reading and writing, blocking and asynchronous, closing
/// and shutting down. It owns the next layer, or refers to it: `fault_stream<S>`,
/// `fault_stream<S&>`. It may be used as the next layer may; operations under way end with
/// `asio::error::operation_aborted` when it is closed or destroyed while they stall.
///
/// A stalled operation notices `close` of this stream, not of the next layer behind its back.
///
///     filexfer::fault_stream<filexfer::memory_pipe> stream{std::move(end), {.max_read = 1}};
template <class NextLayer>
class fault_stream {
 public:
  using next_layer_type = std::remove_reference_t<NextLayer>;
  /// The next layer's; `void` if that is a stream without one, which only blocks.
  using executor_type = typename detail::executor_type_of<next_layer_type>::type;

  explicit fault_stream(NextLayer next, const fault_plan& plan = {})
      : next_{static_cast<NextLayer&&>(next)},
        state_{std::make_shared<detail::fault_state>(plan)} {}

  /// A moved-from stream can only be destroyed or assigned to.
  fault_stream(fault_stream&&) = default;

  fault_stream& operator=(fault_stream&& other)
    requires(!std::is_reference_v<NextLayer>)
  {
    if (state_) state_->release();
    next_ = std::move(other.next_);
    state_ = std::move(other.state_);
    return *this;
  }

  ~fault_stream() {
    if (state_) state_->release();
  }

  executor_type get_executor() noexcept
    requires(!std::is_void_v<executor_type>)
  {
    return next_.get_executor();
  }

  next_layer_type& next_layer() noexcept { return next_; }
  const next_layer_type& next_layer() const noexcept { return next_; }

  const fault_plan& plan() const noexcept { return state_->plan; }

  /// Changes the plan for the operations to come. Positions count from the stream's beginning.
  void plan(const fault_plan& plan) noexcept { state_->plan = plan; }

  /// How many bytes were read, and written, in all.
  std::uint64_t bytes_read() const noexcept { return state_->read; }
  std::uint64_t bytes_written() const noexcept { return state_->written; }

  /// Reads as the next layer does, and as the plan says.
  ///
  /// \return how many bytes were read.
  /// \param ec the next layer's error, or the one that the plan has at this position.
  template <class MutableBuffers>
  std::size_t read_some(const MutableBuffers& buffers, std::error_code& ec) {
    const auto step = next(direction::read, buffers, ec);
    if (ec) return 0;
    const detail::buffer_prefix<asio::mutable_buffer> to{buffers, step.limit};
    const std::size_t bytes = next_.read_some(to, ec);
    state_->has_read(buffers, bytes);
    note_reset(ec);
    return bytes;
  }

  /// As above; throws `std::system_error`.
  template <class MutableBuffers>
  std::size_t read_some(const MutableBuffers& buffers) {
    std::error_code ec;
    const std::size_t bytes = read_some(buffers, ec);
    if (ec) throw std::system_error{ec, "fault_stream: read_some"};
    return bytes;
  }

  /// Writes as the next layer does, and as the plan says.
  ///
  /// \return how many bytes were written.
  /// \param ec the next layer's error, or the one that the plan has at this position.
  template <class ConstBuffers>
  std::size_t write_some(const ConstBuffers& buffers, std::error_code& ec) {
    const auto step = next(direction::write, buffers, ec);
    if (ec) return 0;
    const std::size_t bytes = next_.write_some(state_->to_write(buffers, step.limit), ec);
    state_->written += bytes;
    note_reset(ec);
    return bytes;
  }

  /// As above; throws `std::system_error`.
  template <class ConstBuffers>
  std::size_t write_some(const ConstBuffers& buffers) {
    std::error_code ec;
    const std::size_t bytes = write_some(buffers, ec);
    if (ec) throw std::system_error{ec, "fault_stream: write_some"};
    return bytes;
  }

  /// As `read_some`, without blocking; the buffers' memory must live until completion.
  ///
  /// Handler: `void(std::error_code, std::size_t bytes)`. Cancelling does what it does to the next
  /// layer; a stalled read ends with `operation_aborted`.
  template <class MutableBuffers, class CompletionToken>
  auto async_read_some(const MutableBuffers& buffers, CompletionToken&& token) {
    return start<direction::read>(buffers, token);
  }

  /// As `write_some`, without blocking; the buffers' memory must live until completion.
  ///
  /// Handler: `void(std::error_code, std::size_t bytes)`. Cancelling does what it does to the next
  /// layer; a stalled write ends with `operation_aborted`.
  template <class ConstBuffers, class CompletionToken>
  auto async_write_some(const ConstBuffers& buffers, CompletionToken&& token) {
    return start<direction::write>(buffers, token);
  }

  /// Shuts down the next layer, with its errors.
  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec)
    requires requires(next_layer_type& layer) { layer.shutdown(what, ec); }
  {
    next_.shutdown(what, ec);
  }

  /// Closes the next layer, with its errors; what stalls ends with `operation_aborted`.
  void close(std::error_code& ec)
    requires closable_stream<next_layer_type>
  {
    state_->closed = true;
    state_->release();
    next_.close(ec);
  }

  /// As above; throws `std::system_error`.
  void close()
    requires closable_stream<next_layer_type>
  {
    std::error_code ec;
    close(ec);
    if (ec) throw std::system_error{ec, "fault_stream: close"};
  }

  bool is_open() const
    requires requires(const next_layer_type& layer) { layer.is_open(); }
  {
    return next_.is_open();
  }

 private:
  using direction = detail::fault_state::direction;
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
    if (step.what == verdict::stall) ec = asio::error::timed_out;
    if (step.what == verdict::fail) {
      ec = step.ec;
      if (state_->reset()) detail::close_stream(next_);
    }
    return step;
  }

  void note_reset(std::error_code& ec) const noexcept {
    if (ec && !state_->closed && state_->reset()) ec = asio::error::connection_reset;
  }

  NextLayer next_;
  std::shared_ptr<detail::fault_state> state_;
};

}  // namespace filexfer

#endif
