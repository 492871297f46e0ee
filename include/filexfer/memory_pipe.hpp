#ifndef FILEXFER_MEMORY_PIPE_HPP
#define FILEXFER_MEMORY_PIPE_HPP

/// \file
/// A duplex pipe in memory: a stream for tests, and for two parts of one process.

#include <filexfer/detail/stream/memory_channel.hpp>
#include <filexfer/stream.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/compose.hpp>
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
/// `SyncWriteStream`, `AsyncReadStream` and `AsyncWriteStream`, and behaves as a connected socket
/// would, so that code can be tested on it as it is.
///
/// One end may be used blocking and the other asynchronously, each on its own thread. An end itself
/// may have one read and one write under way at a time, from different threads if both block or the
/// executor is a strand; nothing else may be called meanwhile but `close` and `shutdown`.
///
/// A blocking call on one end waits for the other end: two ends used blocking need two threads.
///
/// Destroying an end closes it. A moved-from end is closed.
class memory_pipe {
 public:
  using executor_type = asio::any_io_executor;
  using lowest_layer_type = memory_pipe;

  memory_pipe(memory_pipe&& other) noexcept
      : executor_{other.executor_},
        receiving_{std::move(other.receiving_)},
        sending_{std::move(other.sending_)} {}

  memory_pipe& operator=(memory_pipe&& other) noexcept {
    const memory_pipe old{std::move(*this)};
    executor_ = other.executor_;
    receiving_ = std::move(other.receiving_);
    sending_ = std::move(other.sending_);
    return *this;
  }

  ~memory_pipe() { close(); }

  executor_type get_executor() const noexcept { return executor_; }

  lowest_layer_type& lowest_layer() noexcept { return *this; }
  const lowest_layer_type& lowest_layer() const noexcept { return *this; }

  /// Whether this end was neither closed nor moved away.
  bool is_open() const noexcept { return receiving_ && receiving_->is_open(side::receiver); }

  /// Reads what is there, waiting until that is at least one byte.
  ///
  /// \param buffers where to; nothing is read, and nothing waited for, if they have no room.
  /// \return how many bytes were read, 0 only with an error or without room.
  /// \param ec `asio::error::eof` once the other end was closed or shut down and everything that it
  ///   sent is read; `operation_aborted` if this end is closed meanwhile; `bad_descriptor` if it
  ///   was closed before.
  template <class MutableBuffers>
    requires asio::is_mutable_buffer_sequence<MutableBuffers>::value
  std::size_t read_some(const MutableBuffers& buffers, std::error_code& ec) {
    return transfer<side::receiver>(receiving_, buffers, ec);
  }

  /// As above; throws `std::system_error`.
  template <class MutableBuffers>
    requires asio::is_mutable_buffer_sequence<MutableBuffers>::value
  std::size_t read_some(const MutableBuffers& buffers) {
    std::error_code ec;
    const std::size_t bytes = read_some(buffers, ec);
    if (ec) throw std::system_error{ec, "memory_pipe: read_some"};
    return bytes;
  }

  /// Writes what fits, waiting until that is at least one byte.
  ///
  /// \param buffers what to write.
  /// \return how many bytes were written, 0 only with an error or if there are none.
  /// \param ec `asio::error::broken_pipe` if the other end no longer reads or this one was shut
  ///   down; `operation_aborted` if this end is closed meanwhile; `bad_descriptor` if it was closed
  ///   before.
  template <class ConstBuffers>
    requires asio::is_const_buffer_sequence<ConstBuffers>::value
  std::size_t write_some(const ConstBuffers& buffers, std::error_code& ec) {
    return transfer<side::sender>(sending_, buffers, ec);
  }

  /// As above; throws `std::system_error`.
  template <class ConstBuffers>
    requires asio::is_const_buffer_sequence<ConstBuffers>::value
  std::size_t write_some(const ConstBuffers& buffers) {
    std::error_code ec;
    const std::size_t bytes = write_some(buffers, ec);
    if (ec) throw std::system_error{ec, "memory_pipe: write_some"};
    return bytes;
  }

  /// As `read_some`, without blocking; the buffers' memory must live until completion.
  ///
  /// Handler: `void(std::error_code, std::size_t bytes)`. Cancelling (terminal, partial or total)
  /// completes it with `operation_aborted`; nothing was read then.
  template <class MutableBuffers, class CompletionToken>
    requires asio::is_mutable_buffer_sequence<MutableBuffers>::value
  auto async_read_some(const MutableBuffers& buffers, CompletionToken&& token) {
    return asio::async_compose<CompletionToken, void(std::error_code, std::size_t)>(
        detail::memory_transfer<side::receiver, MutableBuffers>{receiving_, executor_, buffers},
        token, executor_);
  }

  /// As `write_some`, without blocking; the buffers' memory must live until completion.
  ///
  /// Handler: `void(std::error_code, std::size_t bytes)`. Cancelling (terminal, partial or total)
  /// completes it with `operation_aborted`; nothing was written then.
  template <class ConstBuffers, class CompletionToken>
    requires asio::is_const_buffer_sequence<ConstBuffers>::value
  auto async_write_some(const ConstBuffers& buffers, CompletionToken&& token) {
    return asio::async_compose<CompletionToken, void(std::error_code, std::size_t)>(
        detail::memory_transfer<side::sender, ConstBuffers>{sending_, executor_, buffers}, token,
        executor_);
  }

  /// Ends one direction, or both.
  ///
  /// After `shutdown_send` the other end reads what was sent and then `eof`, and this end's writes
  /// fail with `broken_pipe`. After `shutdown_receive` what was not read is dropped, this end reads
  /// `eof`, and the other end's writes fail with `broken_pipe`. What waits completes at once.
  ///
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

  /// As above; throws `std::system_error`.
  void shutdown(asio::socket_base::shutdown_type what) {
    std::error_code ec;
    shutdown(what, ec);
    if (ec) throw std::system_error{ec, "memory_pipe: shutdown"};
  }

  /// Closes this end. Its operations under way complete with `operation_aborted`; the other end
  /// reads what was sent and then `eof`, and its writes fail with `broken_pipe`.
  ///
  /// \param ec cleared: closing, also twice, never fails.
  void close(std::error_code& ec) noexcept {
    ec.clear();
    close();
  }

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

  template <side Side, class Buffers>
  static std::size_t transfer(const channel_pointer& channel, const Buffers& buffers,
                              std::error_code& ec) {
    if (!channel) {
      ec = asio::error::bad_descriptor;
      return 0;
    }
    const auto done = channel->transfer<Side>(buffers);
    ec = done.ec;
    return done.bytes;
  }

  executor_type executor_;
  channel_pointer receiving_;
  channel_pointer sending_;
};

static_assert(sync_stream<memory_pipe> && async_stream<memory_pipe>);
static_assert(half_closable_stream<memory_pipe> && closable_stream<memory_pipe>);

/// Makes a pipe, and returns its two ends.
///
/// \param first,second the executors of the ends; they may be the same. An end that is only used
///   blocking never runs anything on its own: `asio::system_executor{}` will do for it.
/// \param capacity how many bytes each direction holds that are sent and not yet received, at
///   least 1 (0 is taken as 1).
inline std::pair<memory_pipe, memory_pipe> make_memory_pipe(asio::any_io_executor first,
                                                            asio::any_io_executor second,
                                                            std::size_t capacity = 64 * 1024) {
  auto forth = std::make_shared<detail::memory_channel>(capacity);
  auto back = std::make_shared<detail::memory_channel>(capacity);
  return {memory_pipe{std::move(first), back, forth}, memory_pipe{std::move(second), forth, back}};
}

/// As above, with one executor for both ends.
inline std::pair<memory_pipe, memory_pipe> make_memory_pipe(const asio::any_io_executor& executor,
                                                            std::size_t capacity = 64 * 1024) {
  return make_memory_pipe(executor, executor, capacity);
}

/// As above, with both ends on `context`, which must outlive them.
template <class ExecutionContext>
  requires std::derived_from<ExecutionContext, asio::execution_context>
std::pair<memory_pipe, memory_pipe> make_memory_pipe(ExecutionContext& context,
                                                     std::size_t capacity = 64 * 1024) {
  return make_memory_pipe(context.get_executor(), context.get_executor(), capacity);
}

}  // namespace filexfer

#endif
