#ifndef FILEXFER_ANY_STREAM_HPP
#define FILEXFER_ANY_STREAM_HPP

/// \file
/// One type for all streams, and one for all connectors, where which it is shows at run time only.

#include <filexfer/detail/driver/any_handler.hpp>
#include <filexfer/connector.hpp>
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

/// A stream of any kind. It costs an allocation and an indirect call for each read and write, which
/// is nothing beside the 256 KiB that most of them move.
///
/// One that was made without a stream, or moved from, can be assigned to and destroyed only.
class any_stream {
 public:
  using executor_type = asio::any_io_executor;

  any_stream() noexcept = default;

  /// Takes a stream over.
  template <class Stream>
    requires(!std::same_as<Stream, any_stream>) && async_stream<Stream>
  explicit any_stream(Stream stream)
      : layer_{std::make_unique<layer_of<Stream>>(std::move(stream))} {}

  executor_type get_executor() { return layer_->get_executor(); }

  /// Reads at least one byte, unless `to` has no room. Handler: `void(std::error_code,
  /// std::size_t)`; the errors are those of the stream.
  template <class Buffers, class Token>
  auto async_read_some(const Buffers& to, Token&& token) {
    return asio::async_initiate<Token, void(std::error_code, std::size_t)>(
        [](auto handler, layer* by, asio::mutable_buffer into) {
          by->async_read_some(into, io_handler{std::move(handler), by->get_executor()});
        },
        token, layer_.get(), first_of<asio::mutable_buffer, 1>(to).front());
  }

  /// Writes some bytes. Handler: `void(std::error_code, std::size_t)`; the errors are those of the
  /// stream.
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& from, Token&& token) {
    return asio::async_initiate<Token, void(std::error_code, std::size_t)>(
        [](auto handler, layer* by, const some_buffers& pieces) {
          by->async_write_some(pieces, io_handler{std::move(handler), by->get_executor()});
        },
        token, layer_.get(), first_of<asio::const_buffer, 2>(from));
  }

  /// Ends the sending side, where the stream has such a thing.
  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec) {
    layer_->shutdown(what, ec);
  }

  void close(std::error_code& ec) { layer_->close(ec); }

  /// What the stream knows of why its other end has ended it, which it then is of no use after;
  /// nothing if it knows nothing.
  std::optional<std::string> end_reason() { return layer_->end_reason(); }

 private:
  using io_handler = detail::any_handler<std::size_t>;

  /// What a gather write takes of its buffers: a line, and what follows it.
  using some_buffers = std::array<asio::const_buffer, 2>;

  struct layer {
    virtual ~layer() = default;
    virtual executor_type get_executor() = 0;
    virtual void async_read_some(asio::mutable_buffer to, io_handler handler) = 0;
    virtual void async_write_some(const some_buffers& from, io_handler handler) = 0;
    virtual void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec) = 0;
    virtual void close(std::error_code& ec) = 0;
    virtual std::optional<std::string> end_reason() = 0;
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
    std::optional<std::string> end_reason() override { return detail::end_reason_of(stream); }

    Stream stream;
  };

  /// The first buffers that are not empty: what reads or writes some bytes need not take all.
  template <class Buffer, std::size_t N, class Buffers>
  static std::array<Buffer, N> first_of(const Buffers& buffers) {
    std::array<Buffer, N> found;
    std::size_t count = 0;
    const auto end = asio::buffer_sequence_end(buffers);
    for (auto i = asio::buffer_sequence_begin(buffers); i != end && count < N; ++i) {
      const Buffer one{*i};
      if (one.size() > 0) found[count++] = one;
    }
    return found;
  }

  std::unique_ptr<layer> layer_;
};

static_assert(async_stream<any_stream>);
static_assert(half_closable_stream<any_stream> && closable_stream<any_stream>);

/// A connector of any kind. The deadlines of its connections are measured by
/// `asio::steady_timer`.
class any_connector {
 public:
  using stream_type = any_stream;
  using executor_type = asio::any_io_executor;

  /// Takes a connector over.
  template <class Connector>
    requires(!std::same_as<Connector, any_connector>) && connector<Connector>
  explicit any_connector(Connector c)
      : layer_{std::make_unique<layer_of<Connector>>(std::move(c))} {}

  executor_type get_executor() const { return layer_->get_executor(); }

  /// Connects as that one does. Handler: `void(std::error_code, any_stream)`, with an empty stream
  /// if it has failed.
  template <class Token>
  auto async_connect(Token&& token) {
    return asio::async_initiate<Token, void(std::error_code, any_stream)>(
        [](auto handler, layer* by) {
          by->async_connect(connect_handler{std::move(handler), by->get_executor()});
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

  template <class Connector>
  struct layer_of final : layer {
    /// What calls the other handler, with the stream that it has.
    struct wrapping {
      using executor_type = asio::any_io_executor;
      using cancellation_slot_type = asio::cancellation_slot;
      executor_type get_executor() const noexcept { return handler.get_executor(); }
      cancellation_slot_type get_cancellation_slot() const noexcept {
        return handler.get_cancellation_slot();
      }
      void operator()(std::error_code ec, typename Connector::stream_type stream) {
        handler(ec, ec ? any_stream{} : any_stream{std::move(stream)});
      }
      connect_handler handler;
    };

    explicit layer_of(Connector&& c) : connecting{std::move(c)} {}
    executor_type get_executor() const override { return connecting.get_executor(); }
    void async_connect(connect_handler handler) override {
      connecting.async_connect(wrapping{std::move(handler)});
    }

    Connector connecting;
  };

  std::unique_ptr<layer> layer_;
};

static_assert(connector<any_connector>);

}  // namespace filexfer

#endif
