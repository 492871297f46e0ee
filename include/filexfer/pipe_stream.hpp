#ifndef FILEXFER_PIPE_STREAM_HPP
#define FILEXFER_PIPE_STREAM_HPP

/// \file
/// A duplex stream over two descriptors: a pair of pipes, or standard input and output.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/stream/pipe_side.hpp>
#include <filexfer/detail/stream/transfer_operation.hpp>
#include <filexfer/stream.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/basic_readable_pipe.hpp>
#include <asio/basic_writable_pipe.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/socket_base.hpp>

#include <cstddef>
#include <memory>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace filexfer {

/// A stream that reads from one descriptor and writes to another.
///
/// The descriptors are pipes, FIFOs, sockets or terminals: a pair of pipes to a child process, or
/// standard input and output under `ssh`. A regular file is always ready, and blocks as files do.
///
/// The descriptors' modes are left alone, as other processes may share them, such as the shell that
/// started this program. To a blocking descriptor, an asynchronous write transfers at most
/// `PIPE_BUF` bytes at a time (4096 on Linux), and only when it is writable, so that the call can't
/// block; for speed, make the descriptor non-blocking first. (A terminal on which output was
/// stopped can still block.) A write to a broken pipe fails with an error and raises no SIGPIPE.
///
/// One read and one write may be in flight at a time. Use the stream from one thread or strand.
///
///     filexfer::pipe_stream stream{context.get_executor(), STDIN_FILENO, STDOUT_FILENO};
///
/// \snippet streams.cpp pipe_stream
class pipe_stream {
 public:
  /// The executor type.
  using executor_type = asio::any_io_executor;

  /// Constructs a closed stream.
  /// \param executor The stream's executor.
  explicit pipe_stream(const executor_type& executor) : executor_{executor} {}

  /// Takes ownership of the descriptors, even if it throws. They may be the same.
  ///
  /// \param executor The stream's executor.
  /// \param read_descriptor The descriptor to read from.
  /// \param write_descriptor The descriptor to write to.
  /// \throws std::system_error One is not open, can't be waited for, or can't be duplicated.
  pipe_stream(const executor_type& executor, int read_descriptor, int write_descriptor)
      : executor_{executor} {
    detail::descriptor from{read_descriptor};
    detail::descriptor to;
    if (write_descriptor != read_descriptor) to = detail::descriptor{write_descriptor};
    else to = duplicate(write_descriptor);
    open(std::move(from), std::move(to));
  }

  /// Takes over a pair of Asio's pipes, and makes them non-blocking, as Asio would.
  ///
  /// \param read_pipe The pipe to read from, whose executor becomes the stream's.
  ///   Closed afterwards.
  /// \param write_pipe The pipe to write to. Closed afterwards.
  /// \throws std::system_error One is not open, or no descriptors are left.
  template <class ReadExecutor, class WriteExecutor>
  pipe_stream(asio::basic_readable_pipe<ReadExecutor>&& read_pipe,
              asio::basic_writable_pipe<WriteExecutor>&& write_pipe)
      : executor_{read_pipe.get_executor()} {
    detail::descriptor from = take(read_pipe);
    detail::descriptor to = take(write_pipe);
    open(std::move(from), std::move(to));
  }

  /// \param other Closed afterwards.
  pipe_stream(pipe_stream&& other) noexcept
      : executor_{other.executor_},
        reading_{std::move(other.reading_)},
        writing_{std::move(other.writing_)} {}

  /// Closes this stream first.
  /// \param other Closed afterwards.
  /// \return This stream.
  pipe_stream& operator=(pipe_stream&& other) noexcept {
    const pipe_stream old{std::move(*this)};
    executor_ = other.executor_;
    reading_ = std::move(other.reading_);
    writing_ = std::move(other.writing_);
    return *this;
  }

  /// Closes the descriptors. Pending operations complete with `operation_aborted`.
  ~pipe_stream() {
    std::error_code ignored;
    close(ignored);
  }

  /// \return The stream's executor.
  executor_type get_executor() const noexcept { return executor_; }

  /// \return Whether at least one direction is open.
  bool is_open() const noexcept { return is_open(reading_) || is_open(writing_); }

  /// Reads the bytes available, after waiting for at least one. Returns at once if the buffers are
  /// empty.
  ///
  /// \param buffers One or more buffers into which the data is read.
  /// \param ec `asio::error::bad_descriptor` if this direction is closed; `eof` at the end; the
  ///   system's errors of reading.
  /// \return The number of bytes read, 0 only on error or if the buffers are empty.
  template <class MutableBuffers>
    requires asio::is_mutable_buffer_sequence<MutableBuffers>::value
  std::size_t read_some(const MutableBuffers& buffers, std::error_code& ec) {
    return detail::blocking_transfer<detail::io_direction::read>(reading_, buffers, ec);
  }

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param buffers One or more buffers into which the data is read.
  /// \return The number of bytes read.
  template <class MutableBuffers>
    requires asio::is_mutable_buffer_sequence<MutableBuffers>::value
  std::size_t read_some(const MutableBuffers& buffers) {
    std::error_code ec;
    const std::size_t bytes = read_some(buffers, ec);
    if (ec) throw std::system_error{ec, "pipe_stream: read_some"};
    return bytes;
  }

  /// Writes the bytes that the descriptor accepts, after waiting until it accepts at least one.
  /// Returns at once if the buffers are empty.
  ///
  /// \param buffers One or more buffers to be written.
  /// \param ec `asio::error::bad_descriptor` if this direction is closed; `broken_pipe` if no
  ///   reader is left; the system's errors of writing.
  /// \return The number of bytes written, 0 only on error or if the buffers are empty.
  template <class ConstBuffers>
    requires asio::is_const_buffer_sequence<ConstBuffers>::value
  std::size_t write_some(const ConstBuffers& buffers, std::error_code& ec) {
    return detail::blocking_transfer<detail::io_direction::write>(writing_, buffers, ec);
  }

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param buffers One or more buffers to be written.
  /// \return The number of bytes written.
  template <class ConstBuffers>
    requires asio::is_const_buffer_sequence<ConstBuffers>::value
  std::size_t write_some(const ConstBuffers& buffers) {
    std::error_code ec;
    const std::size_t bytes = write_some(buffers, ec);
    if (ec) throw std::system_error{ec, "pipe_stream: write_some"};
    return bytes;
  }

  /// Starts an asynchronous read, with the errors of `read_some`.
  ///
  /// Handler: `void(std::error_code, std::size_t bytes)`. Cancelling (terminal, partial or total),
  /// closing or destroying the stream completes it with `operation_aborted`; nothing was read.
  ///
  /// \param buffers One or more buffers into which the data is read. Their memory must remain valid
  ///   until the handler is called.
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class MutableBuffers, class CompletionToken>
    requires asio::is_mutable_buffer_sequence<MutableBuffers>::value
  auto async_read_some(const MutableBuffers& buffers, CompletionToken&& token) {
    return detail::async_transfer<detail::io_direction::read>(reading_, executor_, buffers, token);
  }

  /// Starts an asynchronous write, with the errors of `write_some`.
  ///
  /// Handler: `void(std::error_code, std::size_t bytes)`. Cancelling (terminal, partial or total),
  /// closing or destroying the stream completes it with `operation_aborted`; nothing was written.
  ///
  /// \param buffers One or more buffers to be written. Their memory must remain valid until the
  ///   handler is called.
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class ConstBuffers, class CompletionToken>
    requires asio::is_const_buffer_sequence<ConstBuffers>::value
  auto async_write_some(const ConstBuffers& buffers, CompletionToken&& token) {
    return detail::async_transfer<detail::io_direction::write>(writing_, executor_, buffers, token);
  }

  /// Ends one direction, or both, by closing its descriptor (a socket is shut down first). A pipe's
  /// reader sees the end once no descriptor for writing to it is left open.
  ///
  /// \param what The direction, or both.
  /// \param ec `asio::error::not_connected` if that direction is closed already; the system's
  ///   errors of closing. For both directions, the result of the writing one.
  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec) {
    ec.clear();
    if (what != asio::socket_base::shutdown_send) end(reading_, SHUT_RD, ec);
    if (what != asio::socket_base::shutdown_receive) end(writing_, SHUT_WR, ec);
  }

  /// As the overload with an error code, but throws `std::system_error`.
  /// \param what The direction, or both.
  void shutdown(asio::socket_base::shutdown_type what) {
    std::error_code ec;
    shutdown(what, ec);
    if (ec) throw std::system_error{ec, "pipe_stream: shutdown"};
  }

  /// Closes both descriptors. Pending operations complete with `operation_aborted`. Closing again
  /// does nothing.
  ///
  /// \param ec The system's errors of closing; both are closed all the same.
  void close(std::error_code& ec) {
    ec.clear();
    for (const auto& side : {reading_.get(), writing_.get()}) {
      std::error_code failed;
      if (side != nullptr && side->is_open()) side->close(failed);
      if (failed) ec = failed;
    }
  }

  /// As the overload with an error code, but throws `std::system_error`.
  void close() {
    std::error_code ec;
    close(ec);
    if (ec) throw std::system_error{ec, "pipe_stream: close"};
  }

 private:
  using side_pointer = std::shared_ptr<detail::pipe_side>;

  static bool is_open(const side_pointer& side) noexcept { return side && side->is_open(); }

  static detail::descriptor duplicate(int fd) {
    std::error_code ec;
    detail::descriptor copy = detail::duplicate(fd, 0, ec);
    if (ec) throw std::system_error{ec, "pipe_stream"};
    return copy;
  }

  template <class Pipe>
  static detail::descriptor take(Pipe& pipe) {
    detail::descriptor copy = duplicate(pipe.native_handle());
    pipe.close();
    const int flags = ::fcntl(copy.get(), F_GETFL);
    if (flags == -1 || ::fcntl(copy.get(), F_SETFL, flags | O_NONBLOCK) == -1) {
      throw std::system_error{detail::last_error(), "pipe_stream"};
    }
    return copy;
  }

  void open(detail::descriptor from, detail::descriptor to) {
    reading_ = std::make_shared<detail::pipe_side>(executor_, std::move(from));
    writing_ = std::make_shared<detail::pipe_side>(executor_, std::move(to));
  }

  static void end(const side_pointer& side, int how, std::error_code& ec) {
    if (!is_open(side)) {
      ec = asio::error::not_connected;
      return;
    }
    side->shutdown(how);
    side->close(ec);
  }

  executor_type executor_;
  side_pointer reading_;
  side_pointer writing_;
};

static_assert(sync_stream<pipe_stream> && async_stream<pipe_stream>);
static_assert(half_closable_stream<pipe_stream> && closable_stream<pipe_stream>);

/// Descriptors of standard input and output, which the caller has to close.
struct standard_streams {
  int input = -1;   ///< Standard input; -1 if it was closed, or not open for reading.
  int output = -1;  ///< Standard output; -1 if it was closed, or not open for writing.
};

namespace detail {

/// Duplicates `fd` to a descriptor above the standard ones; an empty one if `fd` is closed, or open
/// in the other direction only.
inline descriptor duplicate_above_stderr(int fd, int other_direction) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags != -1 && (flags & O_ACCMODE) == other_direction) return {};
  std::error_code ec;
  descriptor copy = duplicate(fd, first_non_standard_fd, ec);
  if (ec && ec != std::errc::bad_file_descriptor) throw std::system_error{ec, "standard streams"};
  return copy;
}

inline void replace_by_null_device(int standard, int mode) {
  descriptor null_device{::open("/dev/null", mode)};
  if (!null_device) throw std::system_error{last_error(), "/dev/null"};
  if (null_device.get() == standard) {
    null_device.release();
    return;
  }
  if (retry_on_eintr([&] { return ::dup2(null_device.get(), standard); }) == -1)
    throw std::system_error{last_error(), "standard streams"};
}

}  // namespace detail

/// Takes standard input and output from the process, for a `pipe_stream`.
///
/// `/dev/null` replaces them: output printed by mistake does not get between the protocol's bytes,
/// and the peer sees the end once the stream is closed. Call it before opening any file, which
/// could get the number of a closed standard descriptor.
/// \snippet streams.cpp take_standard_streams
///
/// \return The descriptors.
/// \throws std::system_error No descriptors are left, `/dev/null` can't be opened, or can't replace
///   them.
inline standard_streams take_standard_streams() {
  detail::descriptor input = detail::duplicate_above_stderr(STDIN_FILENO, O_WRONLY);
  detail::descriptor output = detail::duplicate_above_stderr(STDOUT_FILENO, O_RDONLY);
  detail::replace_by_null_device(STDIN_FILENO, O_RDONLY);
  detail::replace_by_null_device(STDOUT_FILENO, O_WRONLY);
  return {input.release(), output.release()};
}

}  // namespace filexfer

#endif
