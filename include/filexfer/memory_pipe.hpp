#ifndef FILEXFER_MEMORY_PIPE_HPP
#define FILEXFER_MEMORY_PIPE_HPP

/// \file
/// A duplex pipe in memory: a stream for tests, and between two parts of one process.

#include <filexfer/detail/stream/memory_channel.hpp>
#include <filexfer/detail/stream/transfer_operation.hpp>
#include <filexfer/stream.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/execution_context.hpp>
#include <asio/socket_base.hpp>

#include <concepts>
#include <cstddef>
#include <memory>
#include <system_error>
#include <utility>

namespace filexfer {

/// One end of a bounded duplex pipe in memory; `make_memory_pipe` makes the pair.
///
/// What is written to one end is read from the other, in order. It models Asio's `SyncReadStream`,
/// `SyncWriteStream`, `AsyncReadStream` and `AsyncWriteStream`, and behaves like a connected
/// socket, so that code can be tested on it unchanged.
///
/// One end may be used blocking and the other asynchronously, each on its own thread. An end may
/// have one read and one write in flight at a time, from different threads if both block or the
/// executor is a strand; meanwhile only `close` and `shutdown` may be called.
///
/// A blocking call on one end waits for the other end: with both ends blocking, use two threads.
/// \snippet streams.cpp memory_pipe
class memory_pipe {
 public:
  /// The executor type.
  using executor_type = asio::any_io_executor;
  /// The pipe itself, as no layer is below it.
  using lowest_layer_type = memory_pipe;

  /// \param other Closed afterwards.
  memory_pipe(memory_pipe&& other) noexcept
      : executor_{other.executor_},
        receiving_{std::move(other.receiving_)},
        sending_{std::move(other.sending_)} {}

  /// Closes this end first.
  /// \param other Closed afterwards.
  /// \return This end.
  memory_pipe& operator=(memory_pipe&& other) noexcept {
    const memory_pipe old{std::move(*this)};
    executor_ = other.executor_;
    receiving_ = std::move(other.receiving_);
    sending_ = std::move(other.sending_);
    return *this;
  }

  /// Closes this end.
  ~memory_pipe() { close(); }

  /// \return The executor that this end was made with.
  executor_type get_executor() const noexcept { return executor_; }

  /// \return This end.
  lowest_layer_type& lowest_layer() noexcept { return *this; }
  /// \return This end.
  const lowest_layer_type& lowest_layer() const noexcept { return *this; }

  /// \return Whether this end was neither closed nor moved from.
  bool is_open() const noexcept { return receiving_ && receiving_->is_open(side::receiver); }

  /// Reads the bytes available, after waiting for at least one. Returns at once if the buffers are
  /// empty.
  ///
  /// \param buffers One or more buffers into which the data is read.
  /// \param ec `asio::error::bad_descriptor` if this end is closed; `eof` at the end: the other end
  ///   is closed or has shut down sending and all that it sent was read, or this end has shut down
  ///   receiving; `operation_aborted` if this end is closed meanwhile.
  /// \return The number of bytes read, 0 only on error or if the buffers are empty.
  template <class MutableBuffers>
    requires asio::is_mutable_buffer_sequence<MutableBuffers>::value
  std::size_t read_some(const MutableBuffers& buffers, std::error_code& ec) {
    return detail::blocking_transfer<detail::io_direction::read>(receiving_, buffers, ec);
  }

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param buffers One or more buffers into which the data is read.
  /// \return The number of bytes read.
  template <class MutableBuffers>
    requires asio::is_mutable_buffer_sequence<MutableBuffers>::value
  std::size_t read_some(const MutableBuffers& buffers) {
    std::error_code ec;
    const std::size_t bytes = read_some(buffers, ec);
    if (ec) throw std::system_error{ec, "memory_pipe: read_some"};
    return bytes;
  }

  /// Writes the bytes that fit, after waiting for room for at least one. Returns at once if the
  /// buffers are empty.
  ///
  /// \param buffers One or more buffers to be written.
  /// \param ec `asio::error::bad_descriptor` if this end is closed; `broken_pipe` if the other end
  ///   is closed or has shut down receiving, or this end has shut down sending;
  ///   `operation_aborted` if this end is closed meanwhile.
  /// \return The number of bytes written, 0 only on error or if the buffers are empty.
  template <class ConstBuffers>
    requires asio::is_const_buffer_sequence<ConstBuffers>::value
  std::size_t write_some(const ConstBuffers& buffers, std::error_code& ec) {
    return detail::blocking_transfer<detail::io_direction::write>(sending_, buffers, ec);
  }

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param buffers One or more buffers to be written.
  /// \return The number of bytes written.
  template <class ConstBuffers>
    requires asio::is_const_buffer_sequence<ConstBuffers>::value
  std::size_t write_some(const ConstBuffers& buffers) {
    std::error_code ec;
    const std::size_t bytes = write_some(buffers, ec);
    if (ec) throw std::system_error{ec, "memory_pipe: write_some"};
    return bytes;
  }

  /// Starts an asynchronous read, with the errors of `read_some`.
  ///
  /// Handler: `void(std::error_code, std::size_t bytes)`. Cancellation (terminal, partial or
  /// total): completes with `operation_aborted`, and nothing was read.
  ///
  /// \param buffers One or more buffers into which the data is read. Their memory must remain valid
  ///   until the handler is called.
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class MutableBuffers, class CompletionToken>
    requires asio::is_mutable_buffer_sequence<MutableBuffers>::value
  auto async_read_some(const MutableBuffers& buffers, CompletionToken&& token) {
    return detail::async_transfer<detail::io_direction::read>(receiving_, executor_, buffers,
                                                              token);
  }

  /// Starts an asynchronous write, with the errors of `write_some`.
  ///
  /// Handler: `void(std::error_code, std::size_t bytes)`. Cancellation (terminal, partial or
  /// total): completes with `operation_aborted`, and nothing was written.
  ///
  /// \param buffers One or more buffers to be written. Their memory must remain valid until the
  ///   handler is called.
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class ConstBuffers, class CompletionToken>
    requires asio::is_const_buffer_sequence<ConstBuffers>::value
  auto async_write_some(const ConstBuffers& buffers, CompletionToken&& token) {
    return detail::async_transfer<detail::io_direction::write>(sending_, executor_, buffers, token);
  }

  /// Ends one direction, or both.
  ///
  /// After `shutdown_send` the other end reads what was sent and then `eof`, and this end's writes
  /// fail with `broken_pipe`. After `shutdown_receive` unread bytes are discarded, this end reads
  /// `eof`, and the other end's writes fail with `broken_pipe`. Operations that wait for that
  /// direction complete at once.
  ///
  /// \param what The direction, or both.
  /// \param ec `asio::error::not_connected` if this end is closed.
  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec) {
    ec.clear();
    if (!is_open()) {
      ec = asio::error::not_connected;
      return;
    }
    if (what != asio::socket_base::shutdown_send) receiving_->end(side::receiver, state::shut);
    if (what != asio::socket_base::shutdown_receive) sending_->end(side::sender, state::shut);
  }

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param what The direction, or both.
  void shutdown(asio::socket_base::shutdown_type what) {
    std::error_code ec;
    shutdown(what, ec);
    if (ec) throw std::system_error{ec, "memory_pipe: shutdown"};
  }

  /// Closes this end. Its pending operations complete with `operation_aborted`; the other end reads
  /// what was sent and then `eof`, and its writes fail with `broken_pipe`.
  ///
  /// \param ec Cleared: closing never fails, not even twice.
  void close(std::error_code& ec) noexcept {
    ec.clear();
    close();
  }

  /// As the overload with an error code.
  void close() noexcept {
    if (receiving_) receiving_->end(side::receiver, state::closed);
    if (sending_) sending_->end(side::sender, state::closed);
  }

 private:
  using side = detail::memory_channel::side;
  using state = detail::memory_channel::side_state;
  using channel_pointer = std::shared_ptr<detail::memory_channel>;

  friend std::pair<memory_pipe, memory_pipe> make_memory_pipe(asio::any_io_executor first,
                                                              asio::any_io_executor second,
                                                              std::size_t capacity);

  memory_pipe(asio::any_io_executor executor, channel_pointer receiving, channel_pointer sending)
      : executor_{std::move(executor)},
        receiving_{std::move(receiving)},
        sending_{std::move(sending)} {}

  executor_type executor_;
  channel_pointer receiving_;
  channel_pointer sending_;
};

static_assert(sync_stream<memory_pipe> && async_stream<memory_pipe>);
static_assert(half_closable_stream<memory_pipe> && closable_stream<memory_pipe>);

/// Makes a pipe.
///
/// An end that is only used blocking never uses its executor: `asio::system_executor{}` will do.
/// \snippet streams.cpp memory_pipe
///
/// \param first The executor of the first end.
/// \param second The executor of the second end, which may be the same.
/// \param capacity The most bytes that each direction holds, sent and not yet received; 0 means 1.
/// \return The two ends.
inline std::pair<memory_pipe, memory_pipe> make_memory_pipe(asio::any_io_executor first,
                                                            asio::any_io_executor second,
                                                            std::size_t capacity = 64 * 1024) {
  auto forward = std::make_shared<detail::memory_channel>(capacity);
  auto backward = std::make_shared<detail::memory_channel>(capacity);
  return {memory_pipe{std::move(first), backward, forward},
          memory_pipe{std::move(second), forward, backward}};
}

/// Makes a pipe with one executor for both ends.
///
/// \param executor The executor of both ends.
/// \param capacity The most bytes that each direction holds, sent and not yet received; 0 means 1.
/// \return The two ends.
inline std::pair<memory_pipe, memory_pipe> make_memory_pipe(const asio::any_io_executor& executor,
                                                            std::size_t capacity = 64 * 1024) {
  return make_memory_pipe(executor, executor, capacity);
}

/// Makes a pipe with the executor of `context` for both ends.
/// \snippet streams.cpp make_memory_pipe
///
/// \param context The execution context, which must outlive the ends.
/// \param capacity The most bytes that each direction holds, sent and not yet received; 0 means 1.
/// \return The two ends.
template <class ExecutionContext>
  requires std::derived_from<ExecutionContext, asio::execution_context>
std::pair<memory_pipe, memory_pipe> make_memory_pipe(ExecutionContext& context,
                                                     std::size_t capacity = 64 * 1024) {
  return make_memory_pipe(context.get_executor(), context.get_executor(), capacity);
}

}  // namespace filexfer

#endif
