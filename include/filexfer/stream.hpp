#ifndef FILEXFER_STREAM_HPP
#define FILEXFER_STREAM_HPP

/// \file
/// What a stream has to offer. Every stream of Asio does, and TLS streams over them.

#include <asio/any_io_executor.hpp>
#include <asio/basic_stream_socket.hpp>
#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/socket_base.hpp>

#include <concepts>
#include <cstddef>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>

namespace filexfer {
namespace detail {

/// Stands for any completion handler where a concept is checked. It is defined, though never
/// called: a stream that hides its handler's type behind a virtual function needs all of it.
struct any_io_handler {
  void operator()(std::error_code, std::size_t) const {}
};

}  // namespace detail

/// A stream that the blocking operations work on: Asio's SyncReadStream and SyncWriteStream.
template <class S>
concept sync_stream =
    requires(S& s, asio::mutable_buffer to, asio::const_buffer from, std::error_code& ec) {
      { s.read_some(to, ec) } -> std::convertible_to<std::size_t>;
      { s.write_some(from, ec) } -> std::convertible_to<std::size_t>;
    };

/// A stream that the asynchronous operations work on: Asio's AsyncReadStream and AsyncWriteStream.
/// Deadlines and cancelling need its operations to heed their handler's cancellation slot.
template <class S>
concept async_stream = requires(S& s, asio::mutable_buffer to, asio::const_buffer from,
                                detail::any_io_handler handler) {
  typename S::executor_type;
  { s.get_executor() } -> std::convertible_to<typename S::executor_type>;
  s.async_read_some(to, handler);
  s.async_write_some(from, handler);
};

/// A stream whose sending side can be ended alone; on others the peer sees the end at the close.
template <class S>
concept half_closable_stream =
    requires(S& s, std::error_code& ec) { s.shutdown(asio::socket_base::shutdown_send, ec); };

/// A stream that the library closes when the protocol says so; others are left to their owner.
template <class S>
concept closable_stream = requires(S& s, std::error_code& ec) { s.close(ec); };

namespace detail {

template <class S>
inline constexpr bool is_stream_socket = false;
template <class Protocol, class Executor>
inline constexpr bool is_stream_socket<asio::basic_stream_socket<Protocol, Executor>> = true;

}  // namespace detail

/// A plain stream socket, to which the system can send a file by itself.
template <class S>
concept file_sending_stream = detail::is_stream_socket<S>;

namespace detail {

template <class S>
void shutdown_send(S& stream) {
  if constexpr (half_closable_stream<S>) {
    std::error_code ignored;  // the peer may be gone already
    stream.shutdown(asio::socket_base::shutdown_send, ignored);
  }
}

template <class S>
void close_stream(S& stream) {
  if constexpr (closable_stream<S>) {
    std::error_code ignored;
    stream.close(ignored);
  }
}

/// What the stream knows of why its other end has ended it, with a stream that can know.
template <class S>
std::optional<std::string> end_reason_of(S& stream) {
  if constexpr (requires { stream.end_reason(); }) return stream.end_reason();
  else return std::nullopt;
}

/// The type of the executor of a stream, or of a connector; of one that has none, any.
template <class S>
struct executor_of {
  using type = asio::any_io_executor;
};
template <class S>
  requires requires { typename S::executor_type; }
struct executor_of<S> {
  using type = typename S::executor_type;
};

}  // namespace detail
}  // namespace filexfer

#endif
