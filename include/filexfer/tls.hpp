#ifndef FILEXFER_TLS_HPP
#define FILEXFER_TLS_HPP

/// \file
/// TLS streams, and a connector for them. Needs OpenSSL; not included by `filexfer.hpp`.

#include <filexfer/connector.hpp>
#include <filexfer/stream.hpp>
#include <filexfer/tls_context.hpp>

#include <asio/buffer.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/compose.hpp>
#include <asio/error.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/socket_base.hpp>
#include <asio/ssl/context.hpp>
#include <asio/ssl/error.hpp>
#include <asio/ssl/stream.hpp>
#include <asio/ssl/stream_base.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>

namespace filexfer {
namespace detail {

/// The subject of the peer's certificate, if it was verified.
inline std::string verified_subject(const SSL* tls) {
  const bool is_verified =
      (SSL_get_verify_mode(tls) & SSL_VERIFY_PEER) != 0 && SSL_get_verify_result(tls) == X509_V_OK;
  if (!is_verified) return {};
  const std::unique_ptr<X509, decltype(&X509_free)> peer{SSL_get_peer_certificate(tls), X509_free};
  const std::unique_ptr<BIO, decltype(&BIO_free)> text{BIO_new(BIO_s_mem()), BIO_free};
  if (!peer || !text) return {};
  X509_NAME_print_ex(text.get(), X509_get_subject_name(peer.get()), 0, XN_FLAG_RFC2253);
  std::string subject(BIO_ctrl_pending(text.get()), '\0');
  BIO_read(text.get(), subject.data(), static_cast<int>(subject.size()));
  return subject;
}

}  // namespace detail

/// Asio's TLS stream. Its first read or write includes the handshake, so that one deadline covers
/// both, and its close tells the peer that nothing was cut off. Until the handshake has completed,
/// only one operation may be in flight, and the stream must not be moved.
/// \snippet tls.cpp tls_stream
/// \tparam Socket The socket.
template <class Socket>
class tls_stream {
 public:
  using executor_type = typename Socket::executor_type;  ///< The socket's.
  using secured = asio::ssl::stream<Socket>;             ///< Asio's stream.

  /// \param socket,side The connected socket, and its role in the handshake.
  /// \param context The context, which must outlive the stream.
  tls_stream(Socket socket, asio::ssl::context& context,
             asio::ssl::stream_base::handshake_type side)
      : stream_{std::make_unique<secured>(std::move(socket), context)}, side_{side} {}

  /// \param socket,side As above.
  /// \param context The context, which the stream shares, such as `reloadable_context::current()`.
  tls_stream(Socket socket, std::shared_ptr<asio::ssl::context> context,
             asio::ssl::stream_base::handshake_type side)
      : context_{std::move(context)},
        stream_{std::make_unique<secured>(std::move(socket), *context_)},
        side_{side} {}

  tls_stream(tls_stream&&) noexcept = default;  ///< A moved-from stream can only be destroyed.
  tls_stream& operator=(tls_stream&&) = delete;

  /// Closes the stream.
  ~tls_stream() {
    std::error_code ignored;
    if (stream_) close(ignored);
  }

  /// \return The executor of the socket.
  executor_type get_executor() { return stream_->get_executor(); }
  /// \return The native handle of the socket.
  auto native_handle() { return stream_->lowest_layer().native_handle(); }
  /// \return OpenSSL's handle, to configure before the handshake, and to query after it.
  SSL* native_ssl_handle() { return stream_->native_handle(); }

  /// \return The subject of the peer's certificate as in RFC 2253, such as `CN=alice,O=Example`, in
  /// ASCII; empty before the handshake has completed, and if the peer has presented none, or the
  /// context does not verify it. Not to be called during a read or write on another thread.
  std::string peer_subject() const {
    const bool is_done = state_ == state::established || state_ == state::ended;
    return is_done ? detail::verified_subject(stream_->native_handle()) : std::string{};
  }

  /// Starts an asynchronous read, after the handshake if that is still to be done.
  /// Handler: `void(std::error_code, std::size_t bytes)`. Errors: `asio::error::eof` if the peer
  /// has ended TLS; `asio::ssl::error::stream_truncated` if it only closed the connection; those of
  /// OpenSSL (`asio::error::get_ssl_category()`) and the socket; `certificate_category()`'s if the
  /// peer's certificate is rejected; `asio::error::not_connected` if an earlier handshake failed.
  /// Cancellation: terminal; the stream can then only be closed.
  /// \param buffers The buffers, whose memory must remain valid until the handler is called.
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    const auto read = [buffers](secured& stream, auto handler) {
      stream.async_read_some(buffers, std::move(handler));
    };
    return after_handshake(read, std::forward<Token>(token));
  }

  /// Starts an asynchronous write likewise.
  /// \copydetails async_read_some
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    const auto write = [buffers](secured& stream, auto handler) {
      stream.async_write_some(buffers, std::move(handler));
    };
    return after_handshake(write, std::forward<Token>(token));
  }

  /// Performs the handshake alone. Handler, errors and cancellation: as a read of 0 bytes.
  /// \snippet tls.cpp async_handshake
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class Token>
  auto async_handshake(Token&& token) {
    const auto post = [](secured& stream, auto handler) {
      asio::post(stream.get_executor(), std::move(handler));
    };
    return after_handshake(post, std::forward<Token>(token));
  }

  /// Ends the sending side of TLS without waiting for the peer; the socket is not shut down.
  /// \param what The direction, or both; nothing is done for the receiving one.
  /// \param ec Cleared.
  void shutdown(asio::socket_base::shutdown_type what, std::error_code& ec) {
    ec.clear();
    if (what != asio::socket_base::shutdown_receive) send_close_notify();
  }

  /// Ends TLS without waiting for the peer, and closes the socket.
  /// \param ec The socket's errors.
  void close(std::error_code& ec) {
    send_close_notify();
    stream_->lowest_layer().close(ec);
  }

 private:
  enum class state { initial, handshaking, failed, established, ended };

  template <class Start>
  class operation {
   public:
    operation(tls_stream& tls, Start start) : tls_{tls}, start_{std::move(start)} {}

    template <class Self>
    void operator()(Self& self, std::error_code ec = {}, std::size_t bytes = 0) {
      if (started_) return self.complete(ec, bytes);
      if (refusal_) return drain(self, ec, bytes);
      switch (tls_.state_) {
        case state::initial: return begin(self);
        case state::failed: return fail(self);
        case state::handshaking:
          if (!ec && self.get_cancellation_state().cancelled() != asio::cancellation_type::none) {
            ec = asio::error::operation_aborted;
          }
          tls_.state_ = ec ? state::failed : state::established;
          if (ec) return refuse(self, ec);
          break;
        case state::established:
        case state::ended: break;
      }
      started_ = true;
      const Start start = start_;  // moving `self` moves this object, too
      secured& stream = *tls_.stream_;
      start(stream, std::move(self));
    }

   private:
    template <class Self>
    void begin(Self& self) {
      tls_.state_ = state::handshaking;
      secured& stream = *tls_.stream_;
      const auto side = tls_.side_;
      stream.async_handshake(side, std::move(self));
    }

    /// A server reads on until the client has closed: bytes that nobody reads would make the system
    /// reset the connection, and the client might not see the alert.
    template <class Self>
    void refuse(Self& self, std::error_code ec) {
      const bool is_answered = ec.category() == asio::error::get_ssl_category() &&
                               tls_.side_ == asio::ssl::stream_base::server;
      if (!is_answered) return self.complete(tls_.with_rejection(ec), 0);
      tls_.refuse_plain_client(ec);
      std::error_code ignored;
      tls_.stream_->lowest_layer().shutdown(asio::socket_base::shutdown_send, ignored);
      refusal_ = std::make_unique<refusal>();
      refusal_->reason = tls_.with_rejection(ec);
      drain(self, {}, 0);
    }

    template <class Self>
    void drain(Self& self, std::error_code ec, std::size_t bytes) {
      constexpr std::size_t max_size = std::size_t{64} * 1024;
      refusal_->size += bytes;
      if (ec || refusal_->size > max_size) return self.complete(refusal_->reason, 0);
      Socket& socket = tls_.stream_->next_layer();
      const auto buffer = asio::buffer(refusal_->buffer);
      socket.async_read_some(buffer, std::move(self));
    }

    /// Posts, so as not to complete inside the initiating function.
    template <class Self>
    void fail(Self& self) {
      if (std::exchange(posted_, true)) return self.complete(asio::error::not_connected, 0);
      const auto executor = tls_.get_executor();
      asio::post(executor, std::move(self));
    }

    struct refusal {
      std::error_code reason;
      std::size_t size = 0;  ///< Of what has been read since.
      std::array<char, 1024> buffer;
    };

    tls_stream& tls_;
    Start start_;
    bool started_ = false;
    bool posted_ = false;
    std::unique_ptr<refusal> refusal_;  ///< Set once a server has refused the client.
  };

  template <class Start, class Token>
  auto after_handshake(Start start, Token&& token) {
    return asio::async_compose<Token, void(std::error_code, std::size_t)>(
        operation<Start>{*this, std::move(start)}, token, *stream_);
  }

  /// Returns why the peer's certificate was rejected, if that is what `ec` means.
  std::error_code with_rejection(std::error_code ec) {
    const long result = SSL_get_verify_result(native_ssl_handle());
    const bool is_tls_error = ec.category() == asio::error::get_ssl_category();
    if (!is_tls_error || result == X509_V_OK) return ec;
    return {static_cast<int>(result), certificate_category()};
  }

  void refuse_plain_client(std::error_code ec) {
    const int reason = ERR_GET_REASON(static_cast<unsigned long>(ec.value()));
    const bool plain = ec.category() == asio::error::get_ssl_category() &&
                       (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST);
    if (side_ != asio::ssl::stream_base::server || !plain) return;
    constexpr std::string_view line = "ERROR bad-request TLS is spoken here: tls:HOST:PORT\n";
    std::error_code ignored;
    stream_->next_layer().non_blocking(true, ignored);
    stream_->next_layer().write_some(asio::buffer(line), ignored);
  }

  /// Sends close_notify, if that can be done without blocking. Does not wait for the peer's.
  void send_close_notify() {
    if (state_ != state::established) return;
    state_ = state::ended;
    std::error_code ignored;
    stream_->lowest_layer().non_blocking(true, ignored);
    stream_->shutdown(ignored);
  }

  std::shared_ptr<asio::ssl::context> context_;  ///< Null if its owner is somebody else.
  std::unique_ptr<secured> stream_;
  asio::ssl::stream_base::handshake_type side_;
  state state_ = state::initial;
};

namespace detail {

/// False if no certificate can be for `host`. A name is sent to the server, which may have several.
inline bool expect_host(SSL* tls, const std::string& host) {
  std::error_code not_address;
  asio::ip::make_address(host, not_address);
  if (!not_address) return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), host.c_str()) == 1;
  return SSL_set1_host(tls, host.c_str()) == 1 && SSL_set_tlsext_host_name(tls, host.c_str()) == 1;
}

}  // namespace detail

/// A TLS connector, for servers whose certificate is for the host. It must outlive its streams.
/// \snippet tls.cpp tls_connector
class tls_connector {
 public:
  using stream_type = tls_stream<asio::ip::tcp::socket>;  ///< The type of its streams.
  using executor_type = tcp_connector::executor_type;     ///< The executor type.

  /// \param executor,host,service As for `tcp_connector`.
  /// \param context Without `set_verify_mode(asio::ssl::verify_peer)` it trusts any server.
  tls_connector(executor_type executor, std::string host, std::string service,
                asio::ssl::context context = make_client_context())
      : tcp_{std::move(executor), host, std::move(service)},
        host_{std::move(host)},
        context_{std::make_unique<asio::ssl::context>(std::move(context))} {}

  /// \return The executor of the sockets.
  executor_type get_executor() const noexcept { return tcp_.get_executor(); }

  /// Connects, and performs the handshake. Handler: `void(std::error_code, stream_type)`.
  /// Errors: those of `tcp_connector`; `EINVAL` if no certificate can be for the host;
  /// else those of `tls_stream::async_handshake`. Cancellation: terminal, as for `tcp_connector`.
  /// \param token The completion token.
  /// \return Determined by the completion token.
  template <class Token>
  auto async_connect(Token&& token) {
    return asio::async_compose<Token, void(std::error_code, stream_type)>(
        operation{tcp_, host_, *context_}, token, tcp_.get_executor());
  }

 private:
  class operation {
   public:
    operation(tcp_connector& tcp, const std::string& host, asio::ssl::context& context)
        : tcp_{&tcp}, host_{host}, context_{&context} {}

    template <class Self>
    void operator()(Self& self) {
      tcp_connector& tcp = *tcp_;
      tcp.async_connect(std::move(self));
    }

    template <class Self>
    void operator()(Self& self, std::error_code ec, asio::ip::tcp::socket socket) {
      stream_ = std::make_unique<stream_type>(std::move(socket), *context_,
                                              asio::ssl::stream_base::client);
      stream_type& stream = *stream_;
      if (!ec && !detail::expect_host(stream.native_ssl_handle(), host_)) {
        ec = std::make_error_code(std::errc::invalid_argument);
      }
      if (ec) self.complete(ec, stream_type{std::move(stream)});
      else stream.async_handshake(std::move(self));
    }

    template <class Self>
    void operator()(Self& self, std::error_code ec, std::size_t) {
      stream_type stream = std::move(*stream_);
      stream_.reset();
      self.complete(ec, std::move(stream));
    }

   private:
    tcp_connector* tcp_;
    std::string host_;
    asio::ssl::context* context_;
    std::unique_ptr<stream_type> stream_;
  };

  tcp_connector tcp_;
  std::string host_;
  std::unique_ptr<asio::ssl::context> context_;
};

static_assert(connector<tls_connector>);

}  // namespace filexfer

#endif
