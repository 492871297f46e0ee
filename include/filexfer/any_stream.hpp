#ifndef FILEXFER_ANY_STREAM_HPP
#define FILEXFER_ANY_STREAM_HPP

/// \file
/// Type-erased streams and connectors, for kinds that are chosen at run time.

#include <filexfer/detail/driver/any_handler.hpp>
#include <filexfer/connector.hpp>
#include <filexfer/peer_identity.hpp>
#include <filexfer/stream.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/buffer.hpp>
#include <asio/socket_base.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace filexfer {

/// A stream of any kind. Each read or write costs an allocation and an indirect call, which is
/// nothing beside the 256 KiB that most of them transfer.
///
/// A default-constructed or moved-from `any_stream` can only be assigned to or destroyed.
/// \snippet connectors.cpp any_stream
class any_stream {
 public:
  /// The executor type.
  using executor_type = asio::any_io_executor;

  /// Constructs an `any_stream` without a stream.
  any_stream() noexcept = default;

  /// Wraps a stream.
  /// \param stream The stream, which is moved in.
  template <class Stream>
    requires(!std::same_as<Stream, any_stream>) && async_stream<Stream>
  explicit any_stream(Stream stream)
      : layer_{std::make_unique<layer_of<Stream>>(std::move(stream))} {}

  /// \return The stream's executor.
  executor_type get_executor() { return layer_->get_executor(); }

  /// Starts an asynchronous read of at least one byte, unless `to` is empty. It fills the first
  /// buffer that is not empty.
  ///
  /// Handler: `void(std::error_code, std::size_t bytes)`. Errors and cancellation: as the stream's.
  ///
  /// \param to One or more buffers into which the data is read. Their memory must remain valid
  ///   until the handler is called.
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class Buffers, class Token>
  auto async_read_some(const Buffers& to, Token&& token) {
    return asio::async_initiate<Token, void(std::error_code, std::size_t)>(
        [](auto handler, layer* wrapped, asio::mutable_buffer buffer) {
          wrapped->async_read_some(buffer, io_handler{std::move(handler), wrapped->get_executor()});
        },
        token, layer_.get(), first_of<asio::mutable_buffer, 1>(to).front());
  }

  /// Starts an asynchronous write of at least one byte, unless `from` is empty. It writes from the
  /// first two buffers that are not empty.
  ///
  /// Handler: `void(std::error_code, std::size_t bytes)`. Errors and cancellation: as the stream's.
  ///
  /// \param from One or more buffers to be written. Their memory must remain valid until the
  ///   handler is called.
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& from, Token&& token) {
    return asio::async_initiate<Token, void(std::error_code, std::size_t)>(
        [](auto handler, layer* wrapped, const some_buffers& buffers) {
          wrapped->async_write_some(buffers,
                                    io_handler{std::move(handler), wrapped->get_executor()});
        },
        token, layer_.get(), first_of<asio::const_buffer, 2>(from));
  }

  /// Shuts the stream down, if it is a `half_closable_stream`; else does nothing.
  /// \param what The direction, or both.
  /// \param ec The stream's errors.
  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec) {
    layer_->shutdown(what, ec);
  }

  /// Closes the stream, if it is a `closable_stream`; else does nothing.
  /// \param ec The stream's errors.
  void close(std::error_code& ec) { layer_->close(ec); }

  /// Asks why the other end ended the stream. The stream is unusable afterwards.
  /// \return The reason, in words; nothing if the stream does not know it.
  std::optional<std::string> end_reason() { return layer_->end_reason(); }

  /// \return What the stream knows of its peer, as the free function `identify_peer`.
  peer_identity identify_peer() { return layer_->identify_peer(); }

  /// \return The subject of the peer's certificate, as `tls_stream::peer_subject()`; empty if the
  /// stream has none.
  std::string peer_subject() { return identify_peer().certificate_subject; }

 private:
  using io_handler = detail::any_handler<std::size_t>;

  /// The buffers of one gather write: a line, and the bytes after it.
  using some_buffers = std::array<asio::const_buffer, 2>;

  struct layer {
    virtual ~layer() = default;
    virtual executor_type get_executor() = 0;
    virtual void async_read_some(asio::mutable_buffer to, io_handler handler) = 0;
    virtual void async_write_some(const some_buffers& from, io_handler handler) = 0;
    virtual void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec) = 0;
    virtual void close(std::error_code& ec) = 0;
    virtual std::optional<std::string> end_reason() = 0;
    virtual peer_identity identify_peer() = 0;
  };

  template <class Stream>
  struct layer_of final : layer {
    explicit layer_of(Stream&& s) : stream{std::move(s)} {}

    executor_type get_executor() override { return stream.get_executor(); }
    void async_read_some(asio::mutable_buffer to, io_handler handler) override {
      stream.async_read_some(to, std::move(handler));
    }
    void async_write_some(const some_buffers& from, io_handler handler) override {
      stream.async_write_some(from, std::move(handler));
    }
    void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec) override {
      ec.clear();
      if constexpr (half_closable_stream<Stream>) stream.shutdown(what, ec);
    }
    void close(std::error_code& ec) override {
      ec.clear();
      if constexpr (closable_stream<Stream>) stream.close(ec);
    }
    std::optional<std::string> end_reason() override { return detail::stream_end_reason(stream); }
    peer_identity identify_peer() override { return filexfer::identify_peer(stream); }

    Stream stream;
  };

  /// The first `N` buffers that are not empty, which is enough to read or write some bytes.
  template <class Buffer, std::size_t N, class Buffers>
  static std::array<Buffer, N> first_of(const Buffers& buffers) {
    std::array<Buffer, N> found;
    std::size_t count = 0;
    const auto end = asio::buffer_sequence_end(buffers);
    for (auto i = asio::buffer_sequence_begin(buffers); i != end && count < N; ++i) {
      const Buffer buffer{*i};
      if (buffer.size() > 0) found[count++] = buffer;
    }
    return found;
  }

  std::unique_ptr<layer> layer_;
};

static_assert(async_stream<any_stream>);
static_assert(half_closable_stream<any_stream> && closable_stream<any_stream>);

/// A connector of any kind. The deadlines of its connections use `asio::steady_timer`.
///
/// A moved-from `any_connector` can only be assigned to or destroyed.
/// \snippet connectors.cpp any_connector
class any_connector {
 public:
  /// The type of its streams.
  using stream_type = any_stream;
  /// The executor type.
  using executor_type = asio::any_io_executor;

  /// Wraps a connector.
  /// \param c The connector, which is moved in.
  template <class Connector>
    requires(!std::same_as<Connector, any_connector>) && connector<Connector>
  explicit any_connector(Connector c)
      : layer_{std::make_unique<layer_of<Connector>>(std::move(c))} {}

  /// \return The connector's executor.
  executor_type get_executor() const { return layer_->get_executor(); }

  /// Connects with the connector that it wraps.
  ///
  /// Handler: `void(std::error_code, any_stream)`, with a default-constructed stream on error.
  /// Errors and cancellation: as the connector's.
  ///
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class Token>
  auto async_connect(Token&& token) {
    return asio::async_initiate<Token, void(std::error_code, any_stream)>(
        [](auto handler, layer* wrapped) {
          wrapped->async_connect(connect_handler{std::move(handler), wrapped->get_executor()});
        },
        token, layer_.get());
  }

 private:
  using connect_handler = detail::any_handler<any_stream>;

  struct layer {
    virtual ~layer() = default;
    virtual executor_type get_executor() const = 0;
    virtual void async_connect(connect_handler handler) = 0;
  };

  /// Calls `handler` with the stream, wrapped.
  template <class Stream>
  struct wrapping_handler {
    using executor_type = asio::any_io_executor;
    using cancellation_slot_type = asio::cancellation_slot;
    executor_type get_executor() const noexcept { return handler.get_executor(); }
    cancellation_slot_type get_cancellation_slot() const noexcept {
      return handler.get_cancellation_slot();
    }
    void operator()(std::error_code ec, Stream stream) {
      handler(ec, ec ? any_stream{} : any_stream{std::move(stream)});
    }
    connect_handler handler;
  };

  template <class Connector>
  struct layer_of final : layer {
    using stream_type = typename Connector::stream_type;

    explicit layer_of(Connector&& c) : wrapped{std::move(c)} {}
    executor_type get_executor() const override { return wrapped.get_executor(); }
    void async_connect(connect_handler handler) override {
      wrapped.async_connect(wrapping_handler<stream_type>{std::move(handler)});
    }

    Connector wrapped;
  };

  std::unique_ptr<layer> layer_;
};

static_assert(connector<any_connector>);

}  // namespace filexfer

#endif
