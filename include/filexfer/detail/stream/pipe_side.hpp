#ifndef FILEXFER_DETAIL_STREAM_PIPE_SIDE_HPP
#define FILEXFER_DETAIL_STREAM_PIPE_SIDE_HPP

#include <filexfer/detail/posix/descriptor.hpp>
#include <filexfer/detail/posix/sigpipe.hpp>
#include <filexfer/detail/stream/buffer_prefix.hpp>
#include <filexfer/detail/stream/transfer_operation.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/version.hpp>

#include <array>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>

namespace filexfer::detail {

/// The error as Asio's own streams report it: their category is not the standard library's.
inline std::error_code stream_error(int error) noexcept {
  return {error, asio::error::get_system_category()};
}

/// One of a stream's two descriptors. It is read or written without Asio, which would make it
/// non-blocking for every process that shares it, and would let a write raise SIGPIPE.
///
/// Shared with the operations in flight, which may outlive the stream.
class pipe_side {
 public:
  pipe_side(const asio::any_io_executor& executor, descriptor fd) : waited_{executor} {
    const int flags = ::fcntl(fd.get(), F_GETFL);
    if (flags == -1) throw std::system_error{last_error(), "pipe_stream"};
    non_blocking_ = (flags & O_NONBLOCK) != 0;
    waited_.assign(fd.get());
    fd.release();
#if ASIO_VERSION < 103100
    // Up to 1.30 the first async_wait makes a descriptor non-blocking, unless Asio has done that
    // before. Let Asio do so now, and restore the flags.
    waited_.native_non_blocking(true);
    if (!non_blocking_) ::fcntl(waited_.native_handle(), F_SETFL, flags);
#endif
  }

  bool is_open() const noexcept { return waited_.is_open(); }

  /// For sockets: the peer sees the end even if others share the descriptor.
  void shutdown(int how) noexcept { ::shutdown(waited_.native_handle(), how); }

  void close(std::error_code& ec) { waited_.close(ec); }

  template <io_direction Direction, class Buffers>
  io_result transfer(const Buffers& buffers) {
    if (!is_open()) return {asio::error::bad_descriptor};
    if (asio::buffer_size(buffers) == 0) return {};
    for (;;) {
      const auto done = attempt<Direction>(buffers, max_call_size);
      if (done.ec != asio::error::would_block) return done;
      pollfd poll{waited_.native_handle(),
                  Direction == io_direction::read ? short{POLLIN} : short{POLLOUT}, 0};
      if (retry_on_eintr([&] { return ::poll(&poll, 1, -1); }) == -1) return {stream_error(errno)};
    }
  }

  /// See `transfer_operation`.
  template <io_direction Direction, class Buffers, class Self>
  std::optional<io_result> attempt_or_wait(const Buffers& buffers,
                                           const asio::any_io_executor& /*executor*/,
                                           std::optional<std::error_code> woken, Self& self) {
    if (!is_open()) return io_result{asio::error::bad_descriptor};
    if (asio::buffer_size(buffers) == 0) return io_result{};
    // A regular file can't be waited for, and is always ready.
    if (woken && *woken && *woken != asio::error::operation_not_supported) {
      return io_result{*woken};
    }
    if (woken || non_blocking_) {
      const auto result = attempt<Direction>(buffers, limit(Direction));
      if (result.ec != asio::error::would_block) return result;
    }
    using descriptor_base = asio::posix::descriptor_base;
    waited_.async_wait(
        Direction == io_direction::read ? descriptor_base::wait_read : descriptor_base::wait_write,
        std::move(self));
    return std::nullopt;
  }

 private:
  static constexpr std::size_t max_call_size = std::size_t{1} << 30;  // well under SSIZE_MAX

  /// Reads or writes up to `limit` bytes with one system call.
  template <io_direction Direction, class Buffers>
  io_result attempt(const Buffers& buffers, std::size_t limit) {
    std::array<iovec, 16> pieces;
    int count = 0;
    const buffer_prefix<asio::const_buffer> prefix{buffers, limit};
    for (const asio::const_buffer piece : prefix) {
      pieces[static_cast<std::size_t>(count++)] = {const_cast<void*>(piece.data()), piece.size()};
    }
    const int fd = waited_.native_handle();
    const auto bytes = retry_on_eintr([&] {
      if constexpr (Direction == io_direction::read) {
        return ::readv(fd, pieces.data(), count);
      } else {
        const sigpipe_guard no_signal;
        return ::writev(fd, pieces.data(), count);
      }
    });
    if (bytes > 0) return {{}, static_cast<std::size_t>(bytes)};
    if (bytes < 0) return {stream_error(errno)};
    // Nothing was written of a non-empty buffer: the caller would retry forever.
    if (Direction == io_direction::write) return {stream_error(EIO)};
    return {asio::error::eof};
  }

  /// The most bytes to transfer once the descriptor is ready. A blocking one accepts PIPE_BUF bytes
  /// without blocking, and a read from it returns the bytes available.
  std::size_t limit(io_direction direction) const noexcept {
    return non_blocking_ || direction == io_direction::read ? max_call_size : PIPE_BUF;
  }

  asio::posix::stream_descriptor waited_;
  bool non_blocking_ = false;
};

}  // namespace filexfer::detail

#endif
