#ifndef PROGRAMS_ANY_STREAM_HPP
#define PROGRAMS_ANY_STREAM_HPP

/// \file
/// One type for all that a client speaks over: sockets, pipes, and what comes beside them.

#include <filexfer/stream.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/socket_base.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace programs {

/// The handler of one read or write, whatever its type.
class io_completion {
 public:
  using executor_type = asio::any_io_executor;
  using cancellation_slot_type = asio::cancellation_slot;

  template <class Handler>
  io_completion(Handler handler, const executor_type& fallback)
      : executor_{asio::get_associated_executor(handler, fallback)},
        slot_{asio::get_associated_cancellation_slot(handler)},
        held_{std::make_unique<held_as<Handler>>(std::move(handler))} {}

  executor_type get_executor() const noexcept { return executor_; }
  cancellation_slot_type get_cancellation_slot() const noexcept { return slot_; }

  void operator()(std::error_code ec, std::size_t octets) {
    held& called = *held_;
    called.call(std::move(held_), ec, octets);
  }

 private:
  struct held {
    virtual ~held() = default;
    /// Frees `self` before the handler runs.
    virtual void call(std::unique_ptr<held> self, std::error_code ec, std::size_t octets) = 0;
  };

  template <class Handler>
  struct held_as final : held {
    explicit held_as(Handler&& h) : handler{std::move(h)} {}
    void call(std::unique_ptr<held> self, std::error_code ec, std::size_t octets) override {
      Handler own{std::move(handler)};
      self.reset();
      std::move(own)(ec, octets);
    }
    Handler handler;
  };

  executor_type executor_;
  cancellation_slot_type slot_;
  std::unique_ptr<held> held_;
};

/// What a gather write takes of its buffers: a line, and what follows it.
using some_buffers = std::array<asio::const_buffer, 2>;

/// What is behind an `any_stream`.
class stream_layer {
 public:
  virtual ~stream_layer() = default;
  virtual asio::any_io_executor get_executor() = 0;
  virtual void async_read_some(asio::mutable_buffer to, io_completion handler) = 0;
  virtual void async_write_some(const some_buffers& from, io_completion handler) = 0;
  virtual void shutdown_send(std::error_code& ec) = 0;
  virtual void close(std::error_code& ec) = 0;

  /// Is readable once something has come, or the stream has ended.
  virtual int descriptor() = 0;

  /// What is known of why the other side has ended the stream. It is of no more use after that.
  virtual std::optional<std::string> why_ended() { return std::nullopt; }
};

/// A stream of any kind. It costs an allocation and an indirect call for each read and write, which
/// is nothing beside the 256 KiB that most of them move.
class any_stream {
 public:
  using executor_type = asio::any_io_executor;

  any_stream() = default;
  explicit any_stream(std::unique_ptr<stream_layer> layer) : layer_{std::move(layer)} {}

  executor_type get_executor() { return layer_->get_executor(); }
  stream_layer& layer() noexcept { return *layer_; }

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& to, Token&& token) {
    return asio::async_initiate<Token, void(std::error_code, std::size_t)>(
        [](auto handler, stream_layer* layer, asio::mutable_buffer into) {
          layer->async_read_some(into, io_completion{std::move(handler), layer->get_executor()});
        },
        token, layer_.get(), first_of<asio::mutable_buffer, 1>(to).front());
  }

  template <class Buffers, class Token>
  auto async_write_some(const Buffers& from, Token&& token) {
    return asio::async_initiate<Token, void(std::error_code, std::size_t)>(
        [](auto handler, stream_layer* layer, const some_buffers& pieces) {
          layer->async_write_some(pieces, io_completion{std::move(handler), layer->get_executor()});
        },
        token, layer_.get(), first_of<asio::const_buffer, 2>(from));
  }

  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec) {
    ec.clear();
    if (what != asio::socket_base::shutdown_receive) layer_->shutdown_send(ec);
  }

  void close(std::error_code& ec) { layer_->close(ec); }

 private:
  /// The first buffers that are not empty: what reads or writes some octets need not take all.
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

  std::unique_ptr<stream_layer> layer_;
};

static_assert(filexfer::async_stream<any_stream>);
static_assert(filexfer::half_closable_stream<any_stream> && filexfer::closable_stream<any_stream>);

/// A stream of Asio's kind behind an `any_stream`.
template <class Stream>
class layer_of : public stream_layer {
 public:
  explicit layer_of(Stream stream) : stream_{std::move(stream)} {}

  asio::any_io_executor get_executor() override { return stream_.get_executor(); }

  void async_read_some(asio::mutable_buffer to, io_completion handler) override {
    stream_.async_read_some(to, std::move(handler));
  }

  void async_write_some(const some_buffers& from, io_completion handler) override {
    stream_.async_write_some(from, std::move(handler));
  }

  void shutdown_send(std::error_code& ec) override {
    stream_.shutdown(asio::socket_base::shutdown_send, ec);
  }

  void close(std::error_code& ec) override { stream_.close(ec); }

  int descriptor() override { return stream_.native_handle(); }

 protected:
  Stream stream_;
};

}  // namespace programs

#endif
