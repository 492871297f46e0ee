#ifndef FILEXFER_TLS_CONTEXT_HPP
#define FILEXFER_TLS_CONTEXT_HPP

/// \file
/// Contexts of TLS for both sides, and the errors of certificates. Needs OpenSSL; not included by
/// `filexfer.hpp`.

#include <asio/error.hpp>
#include <asio/ssl/context.hpp>
#include <asio/ssl/error.hpp>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

namespace filexfer {
namespace detail {

class certificate_category_impl final : public std::error_category {
 public:
  const char* name() const noexcept override { return "filexfer.certificate"; }
  std::string message(int value) const override {
    return std::string{"its certificate was rejected: "} + X509_verify_cert_error_string(value);
  }
};

/// TLS 1.2 and later, or what the system's configuration of OpenSSL demands beyond that, with
/// forward secrecy and authenticated encryption. Each connection verifies certificates anew: no
/// session is resumed, so a withdrawn authority lets nobody in, and there are no tickets, whose key
/// would decrypt what was recorded.
inline asio::ssl::context make_tls_context(asio::ssl::context::method method) {
  asio::ssl::context made{method};
  SSL_CTX* const native = made.native_handle();
  const long min_version = std::max<long>(SSL_CTX_get_min_proto_version(native), TLS1_2_VERSION);
  const bool is_set = SSL_CTX_set_min_proto_version(native, min_version) == 1 &&
                      SSL_CTX_set_cipher_list(native, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1 &&
                      SSL_CTX_set_num_tickets(native, 0) == 1;
  if (!is_set) {
    throw std::system_error{static_cast<int>(ERR_get_error()), asio::error::get_ssl_category(),
                            "no safe version of TLS"};
  }
  SSL_CTX_set_options(native, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  return made;
}

inline void throw_unreadable(std::error_code ec, const std::string& file, const char* problem) {
  if (ec) throw std::system_error{ec, file + problem};
}

/// Makes a context present a certificate.
inline void use_certificate(asio::ssl::context& context, const std::string& certificate,
                            const std::string& key) {
  std::error_code ec;
  context.use_certificate_chain_file(certificate, ec);
  throw_unreadable(ec, certificate, ": no certificate can be read there");
  // OpenSSL would ask for a password on the terminal.
  context.set_password_callback(
      [](std::size_t, asio::ssl::context::password_purpose) { return std::string{}; });
  context.use_private_key_file(key, asio::ssl::context::pem, ec);
  throw_unreadable(ec, key, ": not the key of that certificate, or encrypted");
}

/// Makes a context demand a certificate that one of `authorities` has issued.
inline void demand_certificate(asio::ssl::context& context, const std::string& authorities) {
  std::error_code ec;
  context.load_verify_file(authorities, ec);
  throw_unreadable(ec, authorities, ": no certificates can be read there");
  context.set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
  // Tells clients that have several certificates which of them to present.
  auto* const names = SSL_load_client_CA_file(authorities.c_str());
  if (names != nullptr) SSL_CTX_set_client_CA_list(context.native_handle(), names);
}

/// The alert that the peer has sent; no alert's number if `ec` is something else.
inline int received_alert(std::error_code ec) noexcept {
  const auto value = static_cast<unsigned long>(ec.value());
  const bool is_tls_error =
      ec.category() == asio::error::get_ssl_category() && ERR_GET_LIB(value) == ERR_LIB_SSL;
  return is_tls_error ? ERR_GET_REASON(value) - SSL_AD_REASON_OFFSET : 0;
}

}  // namespace detail

/// \return The category `filexfer.certificate` of rejections by this side: OpenSSL's
/// `X509_V_ERR_...`.
inline const std::error_category& certificate_category() noexcept {
  static const detail::certificate_category_impl category;
  return category;
}

/// Tells whether the peer has rejected this side's certificate, or misses one. With TLS 1.3 a
/// client learns that from its first read only, as its handshake completes before the server's.
/// \snippet tls.cpp certificate_alert
/// \param ec An error of a stream of TLS.
/// \return The peer's objection, such as `expired`; empty if `ec` is something else.
inline std::string_view certificate_alert(std::error_code ec) noexcept {
  switch (detail::received_alert(ec)) {
    case SSL_AD_BAD_CERTIFICATE: return "invalid";
    case SSL_AD_UNSUPPORTED_CERTIFICATE: return "unsupported";
    case SSL_AD_CERTIFICATE_REVOKED: return "revoked";
    case SSL_AD_CERTIFICATE_EXPIRED: return "expired";
    case SSL_AD_CERTIFICATE_UNKNOWN: return "not acceptable";
    case SSL_AD_UNKNOWN_CA: return "unknown issuer";
    case SSL_AD_ACCESS_DENIED: return "not authorized";
    case SSL_AD_CERTIFICATE_REQUIRED: return "required";
    default: return {};
  }
}

/// Makes a context for servers: for TLS 1.3 and 1.2, the latter with ECDHE and AES-GCM or ChaCha20
/// only. There are no session tickets, no resumption, no renegotiation and no compression.
/// \snippet tls.cpp tls_server
/// \param certificate,key PEM files: the certificate, followed by its issuers'; the private key.
/// \param client_authorities A PEM file of authorities: each client must present a certificate
///   that one of them has issued. If empty, clients are not asked for one.
/// \return The context.
/// \throws std::system_error A file can't be read, or the key is not that certificate's.
inline asio::ssl::context make_server_context(const std::string& certificate,
                                              const std::string& key,
                                              const std::string& client_authorities = {}) {
  auto made = detail::make_tls_context(asio::ssl::context::tls_server);
  detail::use_certificate(made, certificate, key);
  if (!client_authorities.empty()) detail::demand_certificate(made, client_authorities);
  return made;
}

/// Makes a context for clients, with the versions and ciphers of `make_server_context`, which
/// verifies the server's certificate.
/// \snippet tls.cpp make_client_context
/// \param trusted A PEM file of the certificates to trust; if empty, the system's are trusted.
/// \param certificate,key As for `make_server_context`, for servers that demand a certificate. If
///   `certificate` is empty, none is presented.
/// \return The context.
/// \throws std::system_error A file can't be read, or the key is not that certificate's.
inline asio::ssl::context make_client_context(const std::string& trusted = {},
                                              const std::string& certificate = {},
                                              const std::string& key = {}) {
  auto made = detail::make_tls_context(asio::ssl::context::tls_client);
  made.set_verify_mode(asio::ssl::verify_peer);
  std::error_code ec;
  if (trusted.empty()) made.set_default_verify_paths(ec);
  else made.load_verify_file(trusted, ec);
  detail::throw_unreadable(ec, trusted.empty() ? "the system's store" : trusted,
                           ": no certificates can be read there");
  if (!certificate.empty()) detail::use_certificate(made, certificate, key);
  return made;
}

/// A server's context that can be replaced by one from new files. Streams keep the context that
/// they were made with. Thread-safe.
/// \snippet tls.cpp reloadable_context
class reloadable_context {
 public:
  /// Makes the first context.
  /// \param make Makes a context from files that may change, as `make_server_context`.
  /// \throws std::system_error What `make` throws.
  explicit reloadable_context(std::function<asio::ssl::context()> make)
      : make_{std::move(make)}, current_{std::make_shared<asio::ssl::context>(make_())} {}

  /// Makes another context for the streams to come. Reads files, so it can block.
  /// \snippet tls.cpp reloadable_context
  /// \throws std::system_error What `make` throws; then the context in force stays.
  void reload() {
    const std::lock_guard one_at_a_time{reloading_};
    auto made = std::make_shared<asio::ssl::context>(make_());
    const std::lock_guard guard{mutex_};
    current_ = std::move(made);
  }

  /// \return The context in force, for a `tls_stream` to share.
  [[nodiscard]] std::shared_ptr<asio::ssl::context> current() const {
    const std::lock_guard guard{mutex_};
    return current_;
  }

 private:
  std::function<asio::ssl::context()> make_;
  std::mutex reloading_;
  mutable std::mutex mutex_;  ///< For `current_`.
  std::shared_ptr<asio::ssl::context> current_;
};

}  // namespace filexfer

#endif
