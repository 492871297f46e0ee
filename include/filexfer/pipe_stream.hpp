#ifndef FILEXFER_PIPE_STREAM_HPP
#define FILEXFER_PIPE_STREAM_HPP

/// \file
/// One duplex stream of two descriptors: a pair of pipes, or standard input and output.

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/stream/pipe_side.hpp>
#include <filexfer/stream.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/basic_readable_pipe.hpp>
#include <asio/basic_writable_pipe.hpp>
#include <asio/buffer.hpp>
#include <asio/compose.hpp>
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
/// It leaves the descriptors' modes as they are: others may share them, such as the shell that
/// started this program. An asynchronous write to one that blocks moves at most `PIPE_BUF` bytes
/// at a time (4096 on Linux), and only when the descriptor is writable, so that it can't block;
/// whoever wants speed makes the descriptor non-blocking first. (A terminal on which output was
/// stopped can still block.) No SIGPIPE comes out: writing to a broken pipe gives an error.
///
/// One read and one write may be under way at a time; otherwise it is used from one thread or
/// strand. A moved-from stream is closed.
///
///     filexfer::pipe_stream stream{context.get_executor(), STDIN_FILENO, STDOUT_FILENO};
class pipe_stream {
 public:
  using executor_type = asio::any_io_executor;

  /// One that is closed.
  explicit pipe_stream(const executor_type& executor) : executor_{executor} {}

  /// Takes ownership of the descriptors, also when it throws. They may be one and the same.
  ///
  /// Throws `std::system_error` if one is none, or can't be waited for.
  pipe_stream(const executor_type& executor, int read_descriptor, int write_descriptor)
      : executor_{executor} {
    detail::descriptor from{read_descriptor};
    detail::descriptor to;
    if (write_descriptor != read_descriptor) to = detail::descriptor{write_descriptor};
    else to = duplicate(write_descriptor);
    open(std::move(from), std::move(to));
  }

  /// Takes over a pair of Asio's pipes, which are closed. As Asio would, it makes them
  /// non-blocking.
  ///
  /// Throws `std::system_error` if one is not open, or there are no descriptors left.
  template <class ReadExecutor, class WriteExecutor>
  pipe_stream(asio::basic_readable_pipe<ReadExecutor>&& read_pipe,
              asio::basic_writable_pipe<WriteExecutor>&& write_pipe)
      : executor_{read_pipe.get_executor()} {
    detail::descriptor from = take(read_pipe);
    detail::descriptor to = take(write_pipe);
    open(std::move(from), std::move(to));
  }

  pipe_stream(pipe_stream&& other) noexcept
      : executor_{other.executor_},
        reading_{std::move(other.reading_)},
        writing_{std::move(other.writing_)} {}

  pipe_stream& operator=(pipe_stream&& other) noexcept {
    const pipe_stream old{std::move(*this)};
    executor_ = other.executor_;
    reading_ = std::move(other.reading_);
    writing_ = std::move(other.writing_);
    return *this;
  }

  /// Closes the descriptors; operations under way end with `operation_aborted`.
  ~pipe_stream() {
    std::error_code ignored;
    close(ignored);
  }

  executor_type get_executor() const noexcept { return executor_; }

  /// Whether at least one direction is open.
  bool is_open() const noexcept { return is_open(reading_) || is_open(writing_); }

  /// Reads what is there, waiting until that is at least one byte.
  ///
  /// \param buffers where to; nothing is read, and nothing waited for, if they have no room.
  /// \return how many bytes were read, 0 only with an error or without room.
  /// \param ec `asio::error::eof` at the end; `bad_descriptor` if this direction is closed; what
  ///   the system's `read` fails with.
  template <class MutableBuffers>
    requires asio::is_mutable_buffer_sequence<MutableBuffers>::value
  std::size_t read_some(const MutableBuffers& buffers, std::error_code& ec) {
    return transfer<detail::pipe_direction::read>(reading_, buffers, ec);
  }

  /// As above; throws `std::system_error`.
  template <class MutableBuffers>
    requires asio::is_mutable_buffer_sequence<MutableBuffers>::value
  std::size_t read_some(const MutableBuffers& buffers) {
    std::error_code ec;
    const std::size_t bytes = read_some(buffers, ec);
    if (ec) throw std::system_error{ec, "pipe_stream: read_some"};
    return bytes;
  }

  /// Writes what the descriptor takes, waiting until that is at least one byte.
  ///
  /// \param buffers what to write.
  /// \return how many bytes were written, 0 only with an error or if there are none.
  /// \param ec `asio::error::broken_pipe` if nobody reads any more; `bad_descriptor` if this
  ///   direction is closed; what the system's `write` fails with.
  template <class ConstBuffers>
    requires asio::is_const_buffer_sequence<ConstBuffers>::value
  std::size_t write_some(const ConstBuffers& buffers, std::error_code& ec) {
    return transfer<detail::pipe_direction::write>(writing_, buffers, ec);
  }

  /// As above; throws `std::system_error`.
  template <class ConstBuffers>
    requires asio::is_const_buffer_sequence<ConstBuffers>::value
  std::size_t write_some(const ConstBuffers& buffers) {
    std::error_code ec;
    const std::size_t bytes = write_some(buffers, ec);
    if (ec) throw std::system_error{ec, "pipe_stream: write_some"};
    return bytes;
  }

  /// As `read_some`, without blocking; the buffers' memory must live until completion.
  ///
  /// Handler: `void(std::error_code, std::size_t bytes)`. Cancelling (terminal, partial or total),
  /// closing and destroying the stream complete it with `operation_aborted`; nothing was read then.
  template <class MutableBuffers, class CompletionToken>
    requires asio::is_mutable_buffer_sequence<MutableBuffers>::value
  auto async_read_some(const MutableBuffers& buffers, CompletionToken&& token) {
    using operation = detail::pipe_transfer<detail::pipe_direction::read, MutableBuffers>;
    return asio::async_compose<CompletionToken, void(std::error_code, std::size_t)>(
        operation{reading_, executor_, buffers}, token, executor_);
  }

  /// As `write_some`, without blocking; the buffers' memory must live until completion.
  ///
  /// Handler: `void(std::error_code, std::size_t bytes)`. Cancelling (terminal, partial or total),
  /// closing and destroying the stream complete it with `operation_aborted`; nothing was written
  /// then.
  template <class ConstBuffers, class CompletionToken>
    requires asio::is_const_buffer_sequence<ConstBuffers>::value
  auto async_write_some(const ConstBuffers& buffers, CompletionToken&& token) {
    using operation = detail::pipe_transfer<detail::pipe_direction::write, ConstBuffers>;
    return asio::async_compose<CompletionToken, void(std::error_code, std::size_t)>(
        operation{writing_, executor_, buffers}, token, executor_);
  }

  /// Ends one direction, or both, by closing its descriptor (after `::shutdown`, if it is a
  /// socket). The reader of a pipe sees the end once nobody else holds it open for writing.
  ///
  /// \param ec `asio::error::not_connected` if that direction is closed already.
  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec) {
    ec.clear();
    if (what != asio::socket_base::shutdown_send) end(reading_, SHUT_RD, ec);
    if (what != asio::socket_base::shutdown_receive) end(writing_, SHUT_WR, ec);
  }

  /// As above; throws `std::system_error`.
  void shutdown(asio::socket_base::shutdown_type what) {
    std::error_code ec;
    shutdown(what, ec);
    if (ec) throw std::system_error{ec, "pipe_stream: shutdown"};
  }

  /// Closes both descriptors; operations under way end with `operation_aborted`. Closing twice does
  /// nothing.
  ///
  /// \param ec what the system's `close` fails with; they are closed all the same.
  void close(std::error_code& ec) {
    ec.clear();
    for (const auto& side : {reading_.get(), writing_.get()}) {
      std::error_code failed;
      if (side != nullptr && side->is_open()) side->close(failed);
      if (failed) ec = failed;
    }
  }

  /// As above; throws `std::system_error`.
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

  template <detail::pipe_direction Direction, class Buffers>
  static std::size_t transfer(const side_pointer& side, const Buffers& buffers,
                              std::error_code& ec) {
    if (!side) {
      ec = asio::error::bad_descriptor;
      return 0;
    }
    const auto done = side->transfer<Direction>(buffers);
    ec = done.ec;
    return done.bytes;
  }

  static void end(const side_pointer& side, int how, std::error_code& ec) {
    if (!is_open(side)) {
      ec = asio::error::not_connected;
      return;
    }
    side->shut(how);
    side->close(ec);
  }

  executor_type executor_;
  side_pointer reading_;
  side_pointer writing_;
};

static_assert(sync_stream<pipe_stream> && async_stream<pipe_stream>);
static_assert(half_closable_stream<pipe_stream> && closable_stream<pipe_stream>);

/// Descriptors of standard input and output, -1 for one that was closed. They belong to whoever
/// takes them.
struct standard_streams {
  int input = -1;
  int output = -1;
};

namespace detail {

/// A descriptor above the standard ones, for the same file; -1 if there is none.
inline int duplicate_above_stderr(int of) {
  std::error_code ec;
  descriptor copy = duplicate(of, first_other, ec);
  if (ec && ec != std::errc::bad_file_descriptor) throw std::system_error{ec, "standard streams"};
  return copy.release();
}

inline void replace_by_null_device(int standard, int mode) {
  const int nothing = ::open("/dev/null", mode);
  if (nothing == -1) throw std::system_error{last_error(), "/dev/null"};
  if (nothing == standard) return;
  ::dup2(nothing, standard);
  ::close(nothing);
}

}  // namespace detail

/// Takes standard input and output away from the process, for a `pipe_stream`. The process keeps
/// /dev/null in their place: what is printed by mistake does not get between the protocol's bytes,
/// and the peer sees the end once the stream is closed. To be called before anything is opened,
/// lest it take their numbers. Throws `std::system_error`.
inline standard_streams take_standard_streams() {
  const standard_streams taken{detail::duplicate_above_stderr(STDIN_FILENO),
                               detail::duplicate_above_stderr(STDOUT_FILENO)};
  detail::replace_by_null_device(STDIN_FILENO, O_RDONLY);
  detail::replace_by_null_device(STDOUT_FILENO, O_WRONLY);
  return taken;
}

}  // namespace filexfer

#endif
