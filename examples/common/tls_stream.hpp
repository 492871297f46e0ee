#ifndef PROGRAMS_TLS_STREAM_HPP
#define PROGRAMS_TLS_STREAM_HPP

/// \file
/// TLS over a socket, as the programs want it.

#include <filexfer/stream.hpp>

#include <asio/buffer.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/compose.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>
#include <asio/socket_base.hpp>
#include <asio/ssl/context.hpp>
#include <asio/ssl/error.hpp>
#include <asio/ssl/stream.hpp>

#include <cstddef>
#include <memory>
#include <string_view>
#include <system_error>
#include <utility>

#include <openssl/err.h>
#include <openssl/ssl.h>

namespace programs {

/// Asio's TLS stream, with a handshake that belongs to the first read or write (so that whoever
/// waits for that has a deadline for both), and an end that the other side can tell from a cut.
///
/// Before the handshake is done only one operation may be under way.
template <class Socket>
class tls_stream {
 public:
  using executor_type = typename Socket::executor_type;
  using secured = asio::ssl::stream<Socket>;

  /// The context must live as long.
  tls_stream(Socket socket, asio::ssl::context& context,
             asio::ssl::stream_base::handshake_type side)
      : stream_{std::make_unique<secured>(std::move(socket), context)}, side_{side} {}

  tls_stream(tls_stream&&) noexcept = default;
  tls_stream& operator=(tls_stream&&) = delete;

  ~tls_stream() {
    std::error_code ignored;
    if (stream_) close(ignored);
  }

  executor_type get_executor() { return stream_->get_executor(); }
  auto native_handle() { return stream_->lowest_layer().native_handle(); }

  /// For what is to be set before the handshake, and asked after it.
  SSL* native_tls() { return stream_->native_handle(); }

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& to, Token&& token) {
    const auto read = [to](secured& from, auto handler) {
      from.async_read_some(to, std::move(handler));
    };
    return after_handshake(read, std::forward<Token>(token));
  }

  template <class Buffers, class Token>
  auto async_write_some(const Buffers& from, Token&& token) {
    const auto write = [from](secured& to, auto handler) {
      to.async_write_some(from, std::move(handler));
    };
    return after_handshake(write, std::forward<Token>(token));
  }

  /// The handshake alone. Handler: `void(std::error_code, std::size_t)`.
  template <class Token>
  auto async_handshake(Token&& token) {
    const auto nothing = [](secured& over, auto handler) {
      asio::post(over.get_executor(), std::move(handler));
    };
    return after_handshake(nothing, std::forward<Token>(token));
  }

  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec) {
    ec.clear();
    if (what != asio::socket_base::shutdown_receive) say_that_all_was_sent();
  }

  void close(std::error_code& ec) {
    say_that_all_was_sent();
    stream_->lowest_layer().close(ec);
  }

 private:
  enum class state { fresh, shaking_hands, failed, established, ended };

  template <class Start>
  class operation {
   public:
    operation(tls_stream& over, Start start) : over_{over}, start_{std::move(start)} {}

    template <class Self>
    void operator()(Self& self, std::error_code ec = {}, std::size_t octets = 0) {
      if (started_) return self.complete(ec, octets);
      switch (over_.state_) {
        case state::fresh: return begin(self);
        case state::failed: return fail(self);
        case state::shaking_hands:
          if (!ec && self.get_cancellation_state().cancelled() != asio::cancellation_type::none) {
            ec = asio::error::operation_aborted;
          }
          over_.state_ = ec ? state::failed : state::established;
          if (ec) {
            over_.answer_without_tls(ec);
            return self.complete(ec, 0);
          }
          break;
        case state::established:
        case state::ended: break;
      }
      started_ = true;
      const Start start = start_;  // this object moves along
      secured& stream = *over_.stream_;
      start(stream, std::move(self));
    }

   private:
    template <class Self>
    void begin(Self& self) {
      over_.state_ = state::shaking_hands;
      secured& stream = *over_.stream_;
      const auto side = over_.side_;
      stream.async_handshake(side, std::move(self));
    }

    /// Not inside the initiating function.
    template <class Self>
    void fail(Self& self) {
      if (std::exchange(posted_, true)) return self.complete(asio::error::not_connected, 0);
      const auto executor = over_.get_executor();
      asio::post(executor, std::move(self));
    }

    tls_stream& over_;
    Start start_;
    bool started_ = false;
    bool posted_ = false;
  };

  template <class Start, class Token>
  auto after_handshake(Start start, Token&& token) {
    return asio::async_compose<Token, void(std::error_code, std::size_t)>(
        operation<Start>{*this, std::move(start)}, token, *stream_);
  }

  /// A client that speaks without TLS would be cut off, and never know why.
  void answer_without_tls(std::error_code ec) {
    const int reason = ERR_GET_REASON(static_cast<unsigned long>(ec.value()));
    const bool plain = ec.category() == asio::error::get_ssl_category() &&
                       (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST);
    if (side_ != asio::ssl::stream_base::server || !plain) return;
    constexpr std::string_view line = "ERROR bad-request TLS is spoken here: tls:HOST:PORT\n";
    std::error_code ignored;
    stream_->next_layer().non_blocking(true, ignored);
    stream_->next_layer().write_some(asio::buffer(line), ignored);
  }

  /// Sends what TLS calls close_notify, if that can be done at once. It does not wait for the
  /// other side's, which a non-blocking socket would have to have already.
  void say_that_all_was_sent() {
    if (state_ != state::established) return;
    state_ = state::ended;
    std::error_code ignored;
    stream_->lowest_layer().non_blocking(true, ignored);
    stream_->shutdown(ignored);
  }

  std::unique_ptr<secured> stream_;
  asio::ssl::stream_base::handshake_type side_;
  state state_ = state::fresh;
};

}  // namespace programs

#endif
