#ifndef FILEXFER_STREAM_HPP
#define FILEXFER_STREAM_HPP

/// \file
/// The concepts of streams. Asio's streams, and TLS streams over them, model them.

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>
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

/// Base of the handlers that concepts are checked with. They initiate no operation, so that none is
/// compiled for them.
struct handler_archetype {};

/// Archetype of a completion handler, to check the concepts with. Its call operator is defined,
/// though never called: a stream that erases the handler's type instantiates it.
struct any_io_handler : handler_archetype {
  void operator()(std::error_code, std::size_t) const {}
};

}  // namespace detail
}  // namespace filexfer

namespace asio {

template <class Handler, class... Values>
  requires std::derived_from<Handler, filexfer::detail::handler_archetype>
class async_result<Handler, void(Values...)> {
 public:
  using completion_handler_type = Handler;
  using return_type = void;

  explicit async_result(Handler&) noexcept {}
  void get() noexcept {}

  template <class... Initiation>
  static void initiate(Initiation&&...) noexcept {}
};

}  // namespace asio

namespace filexfer {

/// A stream for the blocking operations: Asio's `SyncReadStream` and `SyncWriteStream`.
///
/// \tparam S The stream.
template <class S>
concept sync_stream =
    requires(S& s, asio::mutable_buffer to, asio::const_buffer from, std::error_code& ec) {
      { s.read_some(to, ec) } -> std::convertible_to<std::size_t>;
      { s.write_some(from, ec) } -> std::convertible_to<std::size_t>;
    };

/// A stream for the asynchronous operations: Asio's `AsyncReadStream` and `AsyncWriteStream`.
///
/// For deadlines and cancellation, its operations must support per-operation cancellation through
/// the handler's associated cancellation slot.
///
/// \tparam S The stream.
template <class S>
concept async_stream = requires(S& s, asio::mutable_buffer to, asio::const_buffer from,
                                detail::any_io_handler handler) {
  typename S::executor_type;
  { s.get_executor() } -> std::convertible_to<typename S::executor_type>;
  s.async_read_some(to, handler);
  s.async_write_some(from, handler);
};

/// A stream whose sending side can be shut down alone. On others the peer sees the end only when
/// the stream is closed.
///
/// \tparam S The stream.
template <class S>
concept half_closable_stream =
    requires(S& s, std::error_code& ec) { s.shutdown(asio::socket_base::shutdown_send, ec); };

/// A stream that the library closes where the protocol requires it; its owner closes any other.
///
/// \tparam S The stream.
template <class S>
concept closable_stream = requires(S& s, std::error_code& ec) { s.close(ec); };

namespace detail {

template <class S>
inline constexpr bool is_stream_socket = false;
template <class Protocol, class Executor>
inline constexpr bool is_stream_socket<asio::basic_stream_socket<Protocol, Executor>> = true;

}  // namespace detail

/// A plain stream socket, to which the system can send a file directly.
///
/// \tparam S The stream.
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

/// Why the other end ended the stream; nothing if the stream does not know.
template <class S>
std::optional<std::string> stream_end_reason(S& stream) {
  if constexpr (requires { stream.end_reason(); }) return stream.end_reason();
  else return std::nullopt;
}

/// The executor type of a stream or a connector; `asio::any_io_executor` if it has none.
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
