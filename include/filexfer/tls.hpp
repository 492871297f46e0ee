#ifndef FILEXFER_TLS_HPP
#define FILEXFER_TLS_HPP

/// \file
/// TLS over a socket, and connections by it. Needs OpenSSL, and is not in `filexfer.hpp`.

#include <filexfer/connector.hpp>
#include <filexfer/stream.hpp>

#include <asio/any_io_executor.hpp>
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

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

namespace filexfer {

/// Asio's TLS stream, with a handshake that belongs to the first read or write (so that whoever
/// waits for that has a deadline for both), and an end that the other side can tell from a cut.
///
/// Before the handshake is done only one operation may be under way, and the stream stays where it
/// is.
template <class Socket>
class tls_stream {
 public:
  using executor_type = typename Socket::executor_type;
  using secured = asio::ssl::stream<Socket>;

  /// The context must outlive it.
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

  /// OpenSSL's, for what is to be set before the handshake, and asked after it.
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
    if (what != asio::socket_base::shutdown_receive) send_close_notify();
  }

  void close(std::error_code& ec) {
    send_close_notify();
    stream_->lowest_layer().close(ec);
  }

 private:
  enum class state { fresh, shaking_hands, failed, established, ended };

  template <class Start>
  class operation {
   public:
    operation(tls_stream& over, Start start) : over_{over}, start_{std::move(start)} {}

    template <class Self>
    void operator()(Self& self, std::error_code ec = {}, std::size_t bytes = 0) {
      if (started_) return self.complete(ec, bytes);
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
  void send_close_notify() {
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

namespace detail {

class certificate_category_impl final : public std::error_category {
 public:
  const char* name() const noexcept override { return "filexfer.certificate"; }
  std::string message(int value) const override { return X509_verify_cert_error_string(value); }
};

/// Requires the certificate to be for this host, which the server is told, for it may have several.
/// False if no certificate can be for it.
inline bool expect_host(SSL* tls, const std::string& host) {
  std::error_code is_name;
  asio::ip::make_address(host, is_name);
  if (!is_name) return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), host.c_str()) == 1;
  return SSL_set1_host(tls, host.c_str()) == 1 && SSL_set_tlsext_host_name(tls, host.c_str()) == 1;
}

}  // namespace detail

/// Why a peer's certificate was refused: the values are OpenSSL's `X509_V_ERR_...`. Its name is
/// "filexfer.certificate".
inline const std::error_category& certificate_category() noexcept {
  static const detail::certificate_category_impl category;
  return category;
}

namespace detail {

inline asio::ssl::context make_tls_context(asio::ssl::context::method method) {
  asio::ssl::context made{method};
  SSL_CTX_set_min_proto_version(made.native_handle(), TLS1_2_VERSION);
  return made;
}

inline void throw_unreadable(std::error_code ec, const std::string& file, const char* what) {
  if (ec) throw std::system_error{ec, file + what};
}

}  // namespace detail

/// A context for servers, which speaks TLS 1.2 and later. Throws `std::system_error`.
///
/// \param certificate  a file with the server's certificate, and those of its issuers behind it,
/// PEM. \param key          a file with that certificate's key, PEM.
inline asio::ssl::context make_server_context(const std::string& certificate,
                                              const std::string& key) {
  auto made = detail::make_tls_context(asio::ssl::context::tls_server);
  std::error_code ec;
  made.use_certificate_chain_file(certificate, ec);
  detail::throw_unreadable(ec, certificate, ": no certificate can be read there");
  made.use_private_key_file(key, asio::ssl::context::pem, ec);
  detail::throw_unreadable(ec, key, ": not the key of that certificate");
  return made;
}

/// A context for clients, which speaks TLS 1.2 and later, and takes no certificate but from the
/// issuers that it trusts. Throws `std::system_error`.
///
/// \param trusted  a file of certificates, PEM; if empty, the system's are trusted.
inline asio::ssl::context make_client_context(const std::string& trusted = {}) {
  auto made = detail::make_tls_context(asio::ssl::context::tls_client);
  made.set_verify_mode(asio::ssl::verify_peer);
  std::error_code ec;
  if (trusted.empty()) made.set_default_verify_paths(ec);
  else made.load_verify_file(trusted, ec);
  detail::throw_unreadable(ec, trusted.empty() ? "the system's store" : trusted,
                           ": no certificates can be read there");
  return made;
}

/// Connects over TCP, and shakes hands with a server whose certificate is for `host`. Its
/// connections must not outlive it.
class tls_connector {
 public:
  using stream_type = tls_stream<asio::ip::tcp::socket>;
  using executor_type = tcp_connector::executor_type;

  /// \param host, service  as `tcp_connector` takes them.
  /// \param context        says whom to trust: without `set_verify_mode(asio::ssl::verify_peer)`,
  ///                       anybody.
  tls_connector(executor_type executor, std::string host, std::string service,
                asio::ssl::context context = make_client_context())
      : tcp_{std::move(executor), host, std::move(service)},
        host_{std::move(host)},
        context_{std::make_unique<asio::ssl::context>(std::move(context))} {}

  executor_type get_executor() const noexcept { return tcp_.get_executor(); }

  /// Connects. Handler: `void(std::error_code, stream_type)`.
  ///
  /// Errors: those of `tcp_connector`; `certificate_category()`'s where the server's certificate is
  /// refused; `EINVAL` if none can be for that host; those of OpenSSL
  /// (`asio::error::get_ssl_category()`).
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

    /// Starts.
    template <class Self>
    void operator()(Self& self) {
      tcp_connector& tcp = *tcp_;
      tcp.async_connect(std::move(self));
    }

    /// There is a connection.
    template <class Self>
    void operator()(Self& self, std::error_code ec, asio::ip::tcp::socket socket) {
      stream_ = std::make_unique<stream_type>(std::move(socket), *context_,
                                              asio::ssl::stream_base::client);
      stream_type& stream = *stream_;
      if (!ec && !detail::expect_host(stream.native_tls(), host_)) {
        ec = std::make_error_code(std::errc::invalid_argument);
      }
      if (ec) self.complete(ec, stream_type{std::move(stream)});
      else stream.async_handshake(std::move(self));
    }

    /// Hands were shaken.
    template <class Self>
    void operator()(Self& self, std::error_code ec, std::size_t) {
      const long verified = SSL_get_verify_result(stream_->native_tls());
      if (ec && verified != X509_V_OK) ec = {static_cast<int>(verified), certificate_category()};
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
